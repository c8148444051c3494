"""Loads and runs the networks of a model, and resamples and fuses their predictions on the reference image's grid."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Case, Modality
from GliomaSegLib.inference.consensus import MemberPrediction, agreement, fuse, mean_dice
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.io.grid import array_on
from GliomaSegLib.job import Settings
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import clean_labels
from GliomaSegLib.preprocessing.prepare import Prepared
from GliomaSegLib.preprocessing.resampling import resample_image, resample_labels
from GliomaSegLib.progress import Progress
from GliomaSegLib.results.layout import AGREEMENT
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_from, card_text
from GliomaSegLib.zoo.card_network import Space
from GliomaSegLib.zoo.card_weights import accepted_sha256
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import load
from GliomaSegLib.zoo.purpose import for_purpose
from GliomaSegLib.zoo.store import Store

# Below this Dice the reader is warned that an ensemble's members disagree: people who outline the same tumour reach .74
# to .85 among themselves (Menze 2015, IEEE Trans Med Imaging 34:1993).
LEAST_AGREEMENT = 0.7


@dataclass(frozen=True)
class Member:
    """A network that is run for a case: that of the model, or of a member of an ensemble.

    Attributes:
        takes_preoperative: whether the pre-operative study is among its inputs.
    """

    card: Card
    weights: Path
    space: Space
    takes_preoperative: bool

    def regions_given(self, case: Case) -> tuple[Region, ...]:
        """See :meth:`GliomaSegLib.zoo.card.Card.regions_given`."""
        return self.card.regions_given(case.present, self.takes_preoperative)


def members_of(card: Card, store: Store, settings: Settings) -> list[Member]:
    """The networks that are run for a model.

    Raises:
        WeightsError: one is not installed or damaged.
    """
    return [
        Member(
            for_purpose(one, settings.purpose),
            store.weights(one),
            store.space(one),
            bool(settings.preoperative and one.inputs.preoperative),
        )
        for one in store.members(card)
    ]


def load_model(
    model: str, weights: Path, device: torch.device, precision: torch.dtype, store: Path | None = None
) -> Segmenter:
    """Load a model. The last two stay in memory for the next case of the process, unless their weights were installed
    again or their card was changed."""
    card = card_text(find_card(model, store))
    return _loaded(card, weights, accepted_sha256(weights), device, precision)


@lru_cache(maxsize=2)  # two, for ensembles
def _loaded(card: str, weights: Path, sha256: str, device: torch.device, precision: torch.dtype) -> Segmenter:
    return load(card_from(json.loads(card)), weights, device, precision)


forget_models = _loaded.cache_clear
"""Unload the models that are kept for the next case."""


def arrays_for(card: Card, prepared: Prepared) -> dict[Modality, NDArray[np.float32]]:
    """The input images of a network: ``float32 [z, y, x]`` on its grid."""
    used = card.sequences_used(tuple(prepared.images))
    return {modality: sitk.GetArrayFromImage(image) for modality, image in prepared.images.items() if modality in used}


@dataclass(frozen=True)
class Segmented:
    """A segmentation on the grid of the reference image.

    Attributes:
        labels: internal label map, ``uint8``.
        network_maps: probabilities, ``float32``, on the grid on which they were predicted; see :meth:`probability`.
        regions: those that the network segments with the modalities of the case.
        agreement: of the members of an ensemble, in per cent.
    """

    labels: sitk.Image
    network_maps: Mapping[Region, sitk.Image]
    regions: tuple[Region, ...] = ()
    agreement: sitk.Image | None = None

    def probability(self, region: Region) -> sitk.Image:
        """The probability map of a region: ``float32`` in 0..1 on the grid of the labels."""
        return sitk.Clamp(resample_image(self.network_maps[region], self.labels), sitk.sitkFloat32, 0.0, 1.0)


def on_reference(
    prediction: Prediction, settings: Settings, member: Member, case: Case, prepared: Prepared
) -> Segmented:
    """Postprocess a network's prediction (by the settings, or else its card) and resample it to the reference image."""
    cleaning = settings.postprocessing or member.card.postprocessing
    labels = clean_labels(prediction.labels, prepared.brain.GetSpacing(), **dataclasses.asdict(cleaning))
    regions = member.regions_given(case)
    maps = {
        region: array_on(probability, prepared.brain)
        for region, probability in prediction.probabilities.items()
        if region in regions
    }
    return Segmented(resample_labels(array_on(labels, prepared.brain), case.reference.image), maps, regions)


def fused(segmented: Sequence[Segmented], settings: Settings, card: Card, case: Case, progress: Progress) -> Segmented:
    """Fuse the segmentations of an ensemble's members by the vote of its card, and postprocess the result."""
    reference = case.reference.image
    predictions = [
        MemberPrediction(
            sitk.GetArrayFromImage(one.labels),
            one.regions,
            {region: sitk.GetArrayFromImage(one.probability(region)) for region in one.network_maps},
        )
        for one in segmented
    ]
    found, maps = fuse(predictions, card.network.parameters["vote"])
    cleaning = settings.postprocessing or card.postprocessing
    labels = clean_labels(found, reference.GetSpacing(), **dataclasses.asdict(cleaning))
    for region, dice in mean_dice(predictions).items():
        if dice < LEAST_AGREEMENT:
            progress.warn(
                f"The models of the ensemble disagree on {region.value} (Dice of one against the other {dice:.2f}); "
                f"look closely where {AGREEMENT} is low."
            )
    return Segmented(
        array_on(labels, reference),
        {region: array_on(one, reference) for region, one in maps.items()},
        agreement=array_on(agreement(labels, predictions), reference),
    )


class MemberProgress:
    """The progress of one of several networks as a part of the whole stage."""

    def __init__(self, whole: Progress, number: int, of: int) -> None:
        self._whole, self._number, self._of = whole, number, of
        self.stage, self.warn = whole.stage, whole.warn

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._whole.advance((self._number + fraction) / self._of, detail)
