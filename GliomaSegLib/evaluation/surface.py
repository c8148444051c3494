"""Distances between the surfaces of two masks: voxel surfaces for HD95, area-weighted surface elements for NSD.

Surface elements, their areas (marching cubes) and the weighted percentile are those of Nikolov 2021 (J Med Internet Res
23:e26151), which BraTS 2023 uses for its lesion-wise HD95; the table of areas is MONAI's.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import KDTree

from GliomaSegLib.measures.lesion_size import ROUNDING
from GliomaSegLib.postprocessing import Mask, Spacing
from GliomaSegLib.preprocessing.cropping import bounding_box

_FULL = 255  # the code of a cell whose eight corners all lie inside


@dataclass(frozen=True)
class SurfaceDistances:
    """Distances (mm, ascending) of the elements of two surfaces to the other one, and the elements' areas (mm²)."""

    distances: tuple[NDArray[np.float64], NDArray[np.float64]]
    areas: tuple[NDArray[np.float64], NDArray[np.float64]]

    def nsd(self, tolerance_mm: float) -> float:
        """Normalised surface Dice: the share of both surfaces that lies within the tolerance of the other one."""
        limit = tolerance_mm * (1 + ROUNDING)
        near = sum(
            float(area[distance <= limit].sum()) for distance, area in zip(self.distances, self.areas, strict=True)
        )
        return near / sum(float(area.sum()) for area in self.areas)

    def hd95_mm(self) -> float:
        """The greater of the two distances within which 95 % of a surface's area lies of the other surface."""
        within = []
        for distance, area in zip(self.distances, self.areas, strict=True):
            last = int(np.searchsorted(np.cumsum(area) / area.sum(), 0.95))
            within.append(float(distance[min(last, len(distance) - 1)]))
        return max(within)


def surface_distances(first: Mask, second: Mask, spacing_mm: Spacing) -> SurfaceDistances | None:
    """Of two masks ``[z, y, x]``, ``spacing_mm`` in the same order; ``None`` when one is empty."""
    if not first.any() or not second.any():
        return None
    elements = [_elements(mask, spacing_mm) for mask in (first, second)]
    found = _nearest(elements[0][0], elements[1][0])
    orders = [np.lexsort((area, distance)) for distance, (_, area) in zip(found, elements, strict=True)]
    return SurfaceDistances(
        (found[0][orders[0]], found[1][orders[1]]), (elements[0][1][orders[0]], elements[1][1][orders[1]])
    )


def hd95_mm(first: Mask, second: Mask, spacing_mm: Spacing) -> float | None:
    """The 95 % Hausdorff distance of two masks ``[z, y, x]``, mm: 0 if both are empty, ``None`` if one is.

    The greater of the two directed ones, each the 95th percentile of the distances from the surface voxels (those with
    a face neighbour outside) of one mask to the nearest surface voxel of the other.
    """
    if not first.any() or not second.any():
        return None if first.any() or second.any() else 0.0
    points = []
    for mask in (first, second):
        box = bounding_box(mask)
        inside = mask[box]
        surface = np.argwhere(inside & ~ndimage.binary_erosion(inside)) + [side.start for side in box]
        points.append(surface * np.asarray(spacing_mm))
    return max(float(np.percentile(distances, 95)) for distances in _nearest(*points))


def _nearest(first: NDArray, second: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """From every point of each set the distance to the other set."""
    # Trees over points of a regular grid are faster to build and to query without balancing.
    trees = [KDTree(points, leafsize=32, compact_nodes=False, balanced_tree=False) for points in (first, second)]
    return trees[1].query(first)[0], trees[0].query(second)[0]


def _elements(mask: Mask, spacing_mm: Spacing) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Places (mm) and areas (mm²) of a mask's surface elements, one per cell of eight voxels that it crosses."""
    table, corners = _areas(spacing_mm)
    box = bounding_box(mask)
    inside = np.pad(mask[box].astype(np.uint8), 1)
    cells = tuple(size - 1 for size in inside.shape)
    code = np.zeros(cells, np.uint8)
    for offset in itertools.product((0, 1), repeat=3):
        part = tuple(slice(start, start + size) for start, size in zip(offset, cells, strict=True))
        code += corners[offset] * inside[part]
    crossed = (code != 0) & (code != _FULL)
    places = np.argwhere(crossed) + [side.start for side in box]
    return places * np.asarray(spacing_mm), table[code[crossed]]


@lru_cache(maxsize=16)
def _areas(spacing_mm: Spacing) -> tuple[NDArray[np.float64], NDArray[np.uint8]]:
    """The area by a cell's code, and the bit of each of its corners ``[z, y, x]``."""
    from monai.metrics.utils import get_code_to_measure_table  # imports torch

    table, corners = get_code_to_measure_table(spacing_mm)
    return table.numpy().astype(np.float64), corners.numpy().reshape(2, 2, 2).astype(np.uint8)
