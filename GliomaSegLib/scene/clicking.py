"""Corrects a segmentation by one click: a part that was missed is added, a wrong one removed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import slicer
import vtk
from numpy.typing import NDArray
from vtk.util.numpy_support import vtk_to_numpy

from GliomaSegLib.errors import InputError
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.scene.edits import Edits
from GliomaSegLib.scene.lesions import component_at
from GliomaSegLib.scene.segmentation import grid_of, image_data, labels_of, matrix_of, reference_of
from GliomaSegLib.scene.threshold import has_probability, load_probability
from GliomaSegLib.scene.volumes import own_matrix

# Thresholds as fractions of the probability at the click; a probability (0..255) below the second value is ignored.
_SHARES = (0.95, 0.85, 0.7, 0.5)
_LEAST_PROBABLE = 0.05 * 255
# A component leaks into other tissue when the next threshold makes it so many times larger, or it exceeds this volume.
_LEAK_FACTOR, _LEAK_ML = 8, 40

_SAME_PLACE_MM = 0.01

# Grow-cut in the image: half of the box's side, the foreground seed's radius, and where the background seed begins.
_REACH_MM, _SURE_MM, _OUTSIDE_MM = 20, 1.5, 16


def add_at(edits: Edits, ras_mm: tuple[float, float, float], label: Label = Label.SNFH) -> int:
    """Add a part of the tumour that was missed, from a point in it (RAS mm of the world).

    It is the connected component of the whole tumour's probability map around the point, at the lowest threshold at
    which it does not leak; without a map, or where that is close to 0, grow-cut on the reference image from the point
    against its surroundings. Voxels that are tumour or cavity already keep their labels.

    Args:
        label: of the new voxels.

    Returns:
        the number of new voxels.

    Raises:
        InputError: the point is outside of the image, or in the tumour or the cavity already; or no part can be
            separated from its surroundings there.
    """
    labels, matrix = labels_of(edits.node)
    index = _index(labels, matrix, ras_mm)
    if labels[index]:
        raise InputError("There is tumour or cavity at this point already; click on what was missed.")
    voxel_ml = abs(np.linalg.det(matrix[:3, :3])) / 1000
    free = labels == Label.BACKGROUND
    part = None
    if has_probability(edits.node):
        part = _part_by_probability(load_probability(edits.node), free, index, _LEAK_ML / voxel_ml)
    if part is None:
        part = _part_by_intensity(edits.node, free, index, matrix, _LEAK_ML / voxel_ml)
    labels[part] = label
    edits.apply(labels)
    return int(part.sum())


def remove_at(edits: Edits, ras_mm: tuple[float, float, float]) -> int:
    """Remove the connected part of the tumour at a point (RAS mm of the world).

    Returns:
        the number of its voxels.

    Raises:
        InputError: the point is outside of the image, or there is no tumour.
    """
    labels, matrix = labels_of(edits.node)
    part = component_at(region_mask(labels, Region.WT), _index(labels, matrix, ras_mm))
    if part is None:
        raise InputError("There is no tumour at this point; click on the part that is wrong.")
    labels[part] = Label.BACKGROUND
    edits.apply(labels)
    return int(part.sum())


def _index(
    labels: NDArray[np.uint8], matrix: NDArray[np.float64], ras_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """The voxel [k, j, i] of a point."""
    i, j, k = np.round((np.linalg.inv(matrix) @ [*ras_mm, 1])[:3]).astype(int)
    if not all(0 <= place < size for place, size in zip((k, j, i), labels.shape, strict=True)):
        raise InputError("This point is outside of the image that the segmentation lies on.")
    return int(k), int(j), int(i)


def _part_by_probability(
    probability: NDArray[np.uint8], free: NDArray[np.bool_], index: tuple[int, int, int], most: float
) -> NDArray[np.bool_] | None:
    found = None
    here = probability[index]
    if here < _LEAST_PROBABLE:
        return None
    for share in _SHARES:
        part = component_at(free & (probability >= max(share * here, _LEAST_PROBABLE)), index)
        if part is None or part.sum() > most or (found is not None and part.sum() > _LEAK_FACTOR * found.sum()):
            break
        found = part
    return found


def _part_by_intensity(
    node: slicer.vtkMRMLSegmentationNode,
    free: NDArray[np.bool_],
    index: tuple[int, int, int],
    matrix: NDArray[np.float64],
    most: float,
) -> NDArray[np.bool_]:
    nothing = InputError("No part can be told from its surroundings at this point; draw it in the editor.")
    image = reference_of(node)
    voxels = slicer.util.arrayFromVolume(image) if image is not None and image.GetImageData() is not None else None
    if image is None or voxels is None or voxels.shape != free.shape:
        raise nothing
    if not np.allclose(own_matrix(image), matrix_of(grid_of(node)), atol=_SAME_PLACE_MM):
        raise nothing  # another image of that many voxels was chosen as the source in the editor
    spacing_mm = np.linalg.norm(matrix[:3, :3], axis=0)[::-1]
    box = tuple(_sides(index, np.ceil(_REACH_MM / spacing_mm).astype(int), free.shape))
    offsets = np.stack(np.meshgrid(*[np.arange(s.start, s.stop) for s in box], indexing="ij"), axis=-1) - index
    distance_mm = np.linalg.norm(offsets * spacing_mm, axis=-1)
    seeds = np.zeros(distance_mm.shape, np.int16)
    seeds[(distance_mm > _OUTSIDE_MM) | ~free[box]] = 2
    seeds[(distance_mm <= max(_SURE_MM, spacing_mm.min() / 2)) & free[box]] = 1
    grown = _grow_cut(voxels[box].astype(np.float32), seeds) == 1
    inside = component_at(grown & free[box], tuple(int(p - s.start) for p, s in zip(index, box, strict=True)))
    if inside is None or inside.sum() > most or inside[distance_mm > _OUTSIDE_MM - spacing_mm.max()].any():
        raise nothing
    around = voxels[box][free[box] & ~inside & (distance_mm <= _OUTSIDE_MM)]
    if abs(voxels[box][inside].mean() - around.mean()) < around.std():
        raise nothing
    part = np.zeros_like(free)
    part[box] = inside
    return part


def _sides(index: tuple[int, int, int], reach: NDArray[np.int_], shape: tuple[int, ...]) -> Iterator[slice]:
    for place, far, size in zip(index, reach, shape, strict=True):
        yield slice(max(int(place - far), 0), min(int(place + far) + 1, size))


def _grow_cut(voxels: NDArray[np.float32], seeds: NDArray[np.int16]) -> NDArray[np.integer]:
    """Labels (1, 2) of all voxels from seeds ``[k, j, i]`` (0: unknown), by the filter of Slicer's Grow from seeds."""
    growing = slicer.vtkImageGrowCutSegment()
    growing.SetIntensityVolume(image_data(voxels, vtk.VTK_FLOAT))
    growing.SetSeedLabelVolume(image_data(seeds, vtk.VTK_SHORT))
    growing.Update()
    return vtk_to_numpy(growing.GetOutput().GetPointData().GetScalars()).reshape(seeds.shape)
