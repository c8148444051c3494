"""Tumour label maps of other patients, without their images: shapes for painted cases.

The file is a NumPy archive with ``ids`` ``[n]`` and ``labels`` ``uint8 [n, 128, 128, 128]``: BraTS label maps (1 NCR,
2 ED, 4 ET) in BraTS's common atlas space, axes x, y, z running towards L, P, S, resized by nearest neighbour from
240 x 240 x 155 voxels of 1 mm.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.datasets.case_table import same_patient
from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import to_internal
from GliomaSegLib.labels import LabelScheme

_ATLAS_MM = (155.0, 240.0, 240.0)  # extent of BraTS's grid along z, y and x
_SURFACE_MM = 4.0  # from the outermost tumours of all patients to the surface of the brain


class LabelMap(NamedTuple):
    """``labels``: internal scheme ``[z, y, x]`` on cubic voxels; ``brain``: approximate bounding box of the brain."""

    labels: NDArray[np.uint8]
    brain: NDArray[np.bool_]


def read_label_maps(path: Path, spacing_mm: float, left_out: Iterable[str] = ()) -> list[LabelMap]:
    """Read the label maps of ``path``, resampled to cubic voxels of ``spacing_mm``, except those ``left_out``.

    Raises:
        InputError: the file is not such an archive.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            ids, maps = [str(one) for one in stored["ids"]], stored["labels"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise InputError(
            f"The label maps {path} cannot be read ({error}); give an archive of ids and labels."
        ) from error
    edges = np.array(_ATLAS_MM) / maps.shape[1:]
    brain = _box(maps.any(axis=0).transpose(2, 1, 0), edges)
    zoom = edges / spacing_mm
    brain = ndimage.zoom(brain, zoom, order=0)
    others = set(map(same_patient, left_out))
    kept = [one for name, one in zip(ids, maps, strict=True) if same_patient(name) not in others]
    return [
        LabelMap(
            ndimage.zoom(to_internal(one.transpose(2, 1, 0), LabelScheme.BRATS2017, str(path)), zoom, order=0), brain
        )
        for one in kept
        if one.any()
    ]


def _box(tumours: NDArray[np.bool_], edges: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The bounding box of all tumours, extended to about the surface of the brain."""
    box = np.zeros_like(tumours)
    margin = np.ceil(_SURFACE_MM / edges).astype(int)
    found = ndimage.find_objects(tumours.astype(np.uint8))[0]
    box[tuple(slice(max(0, part.start - m), part.stop + m) for part, m in zip(found, margin, strict=True))] = True
    return box
