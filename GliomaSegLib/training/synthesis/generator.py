"""Generates synthetic cases from real ones."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar, cast

import numpy as np

from GliomaSegLib.labels import TUMOUR_REGIONS, Label, Region
from GliomaSegLib.training.synthesis.anatomy import Anatomy, anatomy_of, healthy, phantom_anatomy
from GliomaSegLib.training.synthesis.label_maps import LabelMap
from GliomaSegLib.training.synthesis.painting import paint
from GliomaSegLib.training.synthesis.sample import Sample
from GliomaSegLib.training.synthesis.transplant import transplant
from GliomaSegLib.training.synthesis.tumour import grow, move

_TRANSPLANTED = 0.5  # probability of a transplanted case if there is a host; the others are painted
_PHANTOM = 0.3  # probability of the phantom in a painted case
_COMPLETE = 0.5  # probability that a donor with all modalities gets a host with all
_GROWN = 0.5  # probability of a simulated tumour in a painted case
_GROWN_BESIDE_MAPS = 0.2  # the same if there are label maps of further patients
_ENHANCING = 0.5  # probability that the donor is drawn from those with enhancing tumour


class Synthesiser:
    """Draws synthetic cases from training cases; none of them may belong to a validation or test set.

    Args:
        cases: on grids of cubic voxels of ``spacing_mm``, cropped to about the brain; images may be ``float16``. Cases
            without reference labels of the whole tumour are ignored.
        random: for the phantom brains.
        templates: number of deformed phantom brains.
        label_maps: tumours of further patients for painted cases, instead of those of ``cases``.
    """

    def __init__(
        self,
        cases: Iterable[Sample],
        spacing_mm: float,
        random: np.random.Generator,
        templates: int = 4,
        label_maps: Sequence[LabelMap] = (),
    ) -> None:
        self._spacing_mm = spacing_mm
        self._label_maps = label_maps
        self._donors: list[Sample] = []
        self._hosts: list[Sample] = []
        self._anatomies: list[Anatomy] = []
        for case in cases:
            if Region.WT not in case.known:
                continue  # unlabelled tumour would count as healthy
            sample = Sample(case.images.astype(np.float32), case.brain, case.labels, tuple(case.known))
            if sample.labels.any():
                self._donors.append(_compact(sample))
            if (host := healthy(sample, spacing_mm)) is not None:
                self._hosts.append(_compact(host))
                if host.images[:2].any():
                    self._anatomies.append(_compact(anatomy_of(host)))
        self._enhancing = [donor for donor in self._donors if (donor.labels == Label.ET).any()]
        self._labelled = [donor for donor in self._donors if set(donor.known) >= set(TUMOUR_REGIONS)]
        self._complete = [host for host in self._hosts if _is_complete(host)]
        self._templates = [_compact(phantom_anatomy(random, spacing_mm)) for _ in range(templates)]

    def draw(self, random: np.random.Generator) -> Sample:
        """Generate a transplanted or painted case."""
        if self._hosts and self._donors and random.random() < _TRANSPLANTED:
            donor = self._donor(random)
            case = transplant(self._host(donor, random), donor, self._spacing_mm, random)
            if case is not None and case.images.any():
                return case
        return self._painted(random)

    def _donor(self, random: np.random.Generator) -> Sample:
        return _one(self._enhancing if self._enhancing and random.random() < _ENHANCING else self._donors, random)

    def _host(self, donor: Sample, random: np.random.Generator) -> Sample:
        complete = self._complete and _is_complete(donor) and random.random() < _COMPLETE
        return _one(self._complete if complete else self._hosts, random)

    def _painted(self, random: np.random.Generator) -> Sample:
        anatomy = self._anatomy(random)
        donors = self._label_maps or self._labelled
        if donors and random.random() > (_GROWN_BESIDE_MAPS if self._label_maps else _GROWN):
            donor = donors[int(random.integers(len(donors)))]
            labels = move(donor.labels, donor.brain, anatomy.brain, self._spacing_mm, random).labels
        else:
            labels = grow(anatomy, self._spacing_mm, random)
        return paint(anatomy, labels, self._spacing_mm, random)

    def _anatomy(self, random: np.random.Generator) -> Anatomy:
        use_template = not self._anatomies or (self._templates and random.random() < _PHANTOM)
        kept = _one(self._templates if use_template else self._anatomies, random)
        return kept._replace(shares=kept.shares.astype(np.float32))


def _is_complete(case: Sample) -> bool:
    return bool(case.images.any(axis=(1, 2, 3)).all())


_Kept = TypeVar("_Kept", Sample, Anatomy)


def _compact(kept: _Kept) -> _Kept:
    """Convert the first field to float16 to save memory."""
    return kept._replace(**cast(Any, {kept._fields[0]: kept[0].astype(np.float16)}))


def _one(choices: Sequence[_Kept], random: np.random.Generator) -> _Kept:
    return choices[int(random.integers(len(choices)))]
