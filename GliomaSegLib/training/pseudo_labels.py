"""Pseudo-labels: another model's probabilities of TC and ET for cases whose reference is only the whole tumour.

The model segments inside the reference's whole tumour, with all modalities of the case;
:func:`GliomaSegLib.training.pool.believed` selects the voxels that are certain enough.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from GliomaSegLib.case import Modality
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.inference.cascade import SliceCascade
from GliomaSegLib.io.names import file_stem
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.progress import Progress, Silent
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, is_kept, prepared_path, read_prepared, write_case


def pseudo_labelled_path(row: CaseRow, cache: Path, model: str) -> Path:
    """The path of a prepared case with the pseudo-labels of a model."""
    return cache / f"{file_stem(row.case)}.{model}.npz"


def add_pseudo_labels(
    rows: Sequence[CaseRow],
    cache: Path,
    model: str,
    weights_sha256: str,
    segmenter: SliceCascade,
    progress: Progress | None = None,
) -> list[Path]:
    """Write every prepared case whose reference is only the whole tumour with pseudo-labels, atomically; the files of
    all rows, with these labels or without."""
    progress = progress or Silent()
    progress.stage(f"pseudo-labels of {model}")
    paths = []
    for done, row in enumerate(rows):
        progress.advance(done / len(rows), row.case)
        if row.regions != (Region.WT,):
            paths.append(prepared_path(row, cache))
            continue
        path, key = pseudo_labelled_path(row, cache, model), f"{row.key}-{weights_sha256}"
        if not is_kept(row, key, path):
            case = read_prepared(prepared_path(row, cache))
            write_case(with_pseudo_labels(case, segmenter), key, path)
        paths.append(path)
    return paths


def with_pseudo_labels(case: TrainingCase, segmenter: SliceCascade) -> TrainingCase:
    """Add probabilities of TC and ET inside the reference's whole tumour; 0.5 if the case has no T1c."""
    soft = np.full((len(TUMOUR_REGIONS), *case.brain.shape), 0.5, np.float16)
    whole = region_mask(case.labels, Region.WT)
    soft[TUMOUR_REGIONS.index(Region.WT)] = whole
    if case.present[CHANNELS.index(Modality.T1C)]:
        for region, probability in segmenter.parts(case.by_modality(), whole, Silent(), seed=1).items():
            soft[TUMOUR_REGIONS.index(region)] = probability
    return dataclasses.replace(case, soft=soft)
