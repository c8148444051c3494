"""Cleaning of masks and label maps ``[z, y, x]``, without side effects.

``spacing_mm`` is the voxel size in SimpleITK's order (x, y, z). Components are 18-connected (voxels share a face or an
edge) unless stated otherwise.
"""

from __future__ import annotations

import math
from typing import Literal

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.label_maps import compose, region_mask
from GliomaSegLib.labels import TUMOUR_REGIONS, Label, Region
from GliomaSegLib.preprocessing.cropping import bounding_box

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]

_FACES_AND_EDGES = ndimage.generate_binary_structure(3, 2)


def components(mask: Mask, connectivity: Literal[6, 18, 26] = 18) -> tuple[NDArray[np.integer], NDArray[np.int64]]:
    """The numbers of the connected components (from 1) and their sizes in voxels; index 0, background, has size 0."""
    numbered = cc3d.connected_components(mask, connectivity=connectivity)
    sizes = np.bincount(numbered.ravel())
    sizes[0] = 0
    return numbered, sizes


def _select(mask: Mask, keep_sizes: NDArray[np.bool_], numbered: NDArray[np.integer]) -> Mask:
    return keep_sizes[numbered] if mask.any() else mask.copy()


def close_gaps(mask: Mask) -> Mask:
    """Morphological closing with the 3 x 3 x 3 neighbourhood without its corners."""
    closed = np.zeros_like(mask)
    if mask.any():
        box = bounding_box(mask)
        closed[box] = ndimage.binary_closing(np.pad(mask[box], 2), _FACES_AND_EDGES)[2:-2, 2:-2, 2:-2]
    return closed


def keep_components_above(mask: Mask, voxels: int) -> Mask:
    """Keep the components of more than ``voxels`` voxels; if there is none, the largest."""
    numbered, sizes = components(mask)
    return _select(mask, sizes > min(voxels, sizes.max() - 1), numbered)


def keep_largest_two(mask: Mask, least_fraction: float = 0.1) -> Mask:
    """Keep the largest component, and the second when it is larger than ``least_fraction`` of the largest."""
    numbered, sizes = components(mask)
    order = np.argsort(sizes)[::-1]
    keep = np.zeros(len(sizes), dtype=bool)
    keep[order[0]] = True
    if len(order) > 1 and sizes[order[1]] > least_fraction * sizes[order[0]]:
        keep[order[1]] = True
    return _select(mask, keep, numbered)


def keep_components_inside(mask: Mask, container: Mask, least_fraction: float = 0.5) -> Mask:
    """Keep the components of which at least ``least_fraction`` of the voxels lie inside ``container``."""
    numbered, sizes = components(mask)
    inside = np.bincount(numbered[container], minlength=len(sizes))
    keep = (inside >= least_fraction * sizes) & (sizes > 0)
    return _select(mask, keep, numbered)


def fill_small_holes(mask: Mask, spacing_mm: Spacing, below_mm3: float = 3.0) -> Mask:
    """Fill the holes smaller than ``below_mm3``. A hole is background shut in on all sides (6-connectivity)."""
    filled = mask.copy()
    if mask.any():
        box = bounding_box(mask)
        # The rim of padding joins everything that is open to the outside into the component of the first corner.
        numbered, sizes = components(~np.pad(mask[box], 1), connectivity=6)
        hole = (sizes > 0) & (sizes * math.prod(spacing_mm) < below_mm3)
        hole[numbered[0, 0, 0]] = False
        filled[box] |= hole[numbered][1:-1, 1:-1, 1:-1]
    return filled


def remove_islands(mask: Mask, below_fraction: float = 0.1) -> Mask:
    """Remove the components smaller than ``below_fraction`` of the largest one."""
    numbered, sizes = components(mask)
    return _select(mask, (sizes > 0) & (sizes >= below_fraction * sizes.max()), numbered)


def remove_small_objects(mask: Mask, spacing_mm: Spacing, below_mm3: float) -> Mask:
    """Remove the components smaller than ``below_mm3`` cubic millimetres."""
    numbered, sizes = components(mask)
    return _select(mask, (sizes > 0) & (sizes * math.prod(spacing_mm) >= below_mm3), numbered)


def clean_labels(
    labels: NDArray[np.uint8],
    spacing_mm: Spacing,
    fill_holes_below_mm3: float,
    remove_islands_below_fraction: float,
    remove_objects_below_mm3: float,
) -> NDArray[np.uint8]:
    """Clean a label map of the internal scheme; zero switches a step off.

    Holes are filled and small objects removed in WT, TC and ET separately; islands are removed from WT only, since a
    small enhancing focus inside the tumour is no island. The cavity (RC) never changes.
    """
    cavity = labels == Label.RC
    regions = []
    for region in TUMOUR_REGIONS:
        mask = region_mask(labels, region)
        if fill_holes_below_mm3 > 0:
            mask = fill_small_holes(mask | cavity, spacing_mm, fill_holes_below_mm3) & ~cavity
        if region is Region.WT and remove_islands_below_fraction > 0:
            mask = remove_islands(mask, remove_islands_below_fraction)
        if remove_objects_below_mm3 > 0:
            mask = remove_small_objects(mask, spacing_mm, remove_objects_below_mm3)
        regions.append(mask)
    cleaned = compose(*regions)
    cleaned[cavity] = Label.RC
    return cleaned
