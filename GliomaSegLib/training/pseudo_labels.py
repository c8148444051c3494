"""Pseudo-labels: another model's probabilities of core and enhancing tumour where the reference is the whole alone.

The model looks inside the reference's whole tumour, with all sequences of the case; which of its voxels count is
decided in :func:`GliomaSegLib.training.pool.believed`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import REGIONS, CaseRow
from GliomaSegLib.inference.cascade import SliceCascade
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.dataset import (
    CHANNELS,
    TrainingCase,
    prepared_path,
    read_prepared,
    stored_key,
    write_case,
)


def pseudo_labelled_path(row: CaseRow, cache: Path, model: str) -> Path:
    """Where a case is kept with the model's pseudo-labels."""
    return cache / f"{row.case}.{model}.npz"


def add_pseudo_labels(
    rows: Sequence[CaseRow], cache: Path, model: str, segmenter: SliceCascade, progress: Progress | None = None
) -> None:
    """Label every prepared case whose reference is the whole tumour alone; each is written whole."""
    progress = progress or Silent()
    progress.stage(f"pseudo-labels of {model}")
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        path = pseudo_labelled_path(row, cache, model)
        if row.regions != (Region.WT,) or stored_key(path) == row.key:
            continue
        case = read_prepared(prepared_path(row, cache))
        write_case(with_pseudo_labels(case, segmenter), row.key, path)


def with_pseudo_labels(case: TrainingCase, segmenter: SliceCascade) -> TrainingCase:
    """The case with probabilities of TC and ET inside the reference's whole tumour; 0.5 without T1c."""
    soft = np.full((len(REGIONS), *case.brain.shape), 0.5, np.float16)
    whole = region_mask(case.labels, Region.WT)
    soft[REGIONS.index(Region.WT)] = whole
    if case.present[CHANNELS.index(Modality.T1C)]:
        for region, probability in segmenter.parts(case.by_modality(), whole, Silent(), seed=1).items():
            soft[REGIONS.index(region)] = probability
    return dataclasses.replace(case, soft=soft)
