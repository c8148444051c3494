"""A teacher: another model's answer where the truth is silent.

A case whose truth is the whole tumour alone teaches nothing about its core and enhancing part. A model that knows them
well looks for them inside that tumour, with all sequences of the case, and its probabilities are kept beside the truth;
what of them is believed is decided in :func:`GliomaSegLib.training.sampling.believed`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import REGIONS, CaseRow
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, read_prepared, stored_key, write_case


class KnowsParts(Protocol):
    """A model that can tell the parts of a tumour that is given, such as CA-CNN's cascade."""

    def parts(
        self,
        images: Mapping[Modality, NDArray[np.float32]],
        tumour: NDArray[np.bool_],
        progress: Progress,
        seed: int,
    ) -> Mapping[Region, NDArray[np.float32]]:
        """See :meth:`GliomaSegLib.inference.cascade.SliceCascade.parts`."""
        ...


def taught_path(row: CaseRow, cache: Path, teacher: str) -> Path:
    """Where a case is kept with its teacher's answer."""
    return cache / f"{row.case}.{teacher}.npz"


def teach_all(
    rows: Sequence[CaseRow], cache: Path, teacher: str, segmenter: KnowsParts, progress: Progress | None = None
) -> None:
    """Ask the teacher about every prepared case that knows the whole tumour and not its parts; each written whole."""
    progress = progress or Silent()
    progress.stage(f"asking {teacher}")
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        path = taught_path(row, cache, teacher)
        if row.regions != (Region.WT,) or stored_key(path) == row.key:
            continue
        case = read_prepared(cache / f"{row.case}.npz")
        write_case(taught(case, segmenter), row.key, path)


def taught(case: TrainingCase, teacher: KnowsParts) -> TrainingCase:
    """The case with the teacher's probabilities of TC and ET in the true tumour; 0.5 where it can say nothing."""
    soft = np.full((len(REGIONS), *case.brain.shape), 0.5, np.float16)
    whole = region_mask(case.labels, Region.WT)
    soft[REGIONS.index(Region.WT)] = whole
    if case.present[CHANNELS.index(Modality.T1C)]:
        images = {
            sequence: case.images[place].astype(np.float32)
            for place, sequence in enumerate(CHANNELS)
            if case.present[place]
        }
        for region, probability in teacher.parts(images, whole, Silent(), seed=1).items():
            soft[REGIONS.index(region)] = probability
    return dataclasses.replace(case, soft=soft)
