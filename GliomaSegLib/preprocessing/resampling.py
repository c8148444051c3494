"""Resampling between the grids of files and the grid of a network.

Images are resampled once, from the file to the network's grid; labels are resampled once, from there to the grid of the
reference image. Zeros around the content are not interpolated, as tumours fill a small part of a fine grid.
"""

from __future__ import annotations

import itertools

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.io.grid import GRID_TOLERANCE_VOXELS, oriented, oriented_like, placed_as, same_grid
from GliomaSegLib.preprocessing.cropping import bounding_box

# If the content fills more than this fraction of the grid, all of it is interpolated.
_MOST_OF_IT = 0.7


def model_grid(reference: sitk.Image, spacing_mm: tuple[float, float, float], orientation: str) -> sitk.Image:
    """An empty image on a network's grid: the reference's field of view and axes, reoriented to ``orientation`` (e.g.
    ``LPS``), with voxels of ``spacing_mm`` (x, y, z).

    A reference with this spacing keeps its voxels, so that nothing is interpolated.
    """
    upright = oriented(reference, orientation)
    size, spacing, origin_index = [], [], []
    for voxels, own, wanted in zip(upright.GetSize(), upright.GetSpacing(), spacing_mm, strict=True):
        keeps = abs(own - wanted) * voxels <= GRID_TOLERANCE_VOXELS * wanted
        count = voxels if keeps else max(1, round(voxels * own / wanted))
        step = own if keeps else wanted
        size.append(count)
        spacing.append(step)
        origin_index.append(((voxels - 1) * own - (count - 1) * step) / 2 / own)
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetDirection(upright.GetDirection())
    grid.SetOrigin(upright.TransformContinuousIndexToPhysicalPoint(origin_index))
    return grid


def resample_image(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Resample ``image`` to ``grid`` linearly, ``float32``, 0 outside its field of view.

    Args:
        transform: maps points of the grid to points of the image (LPS mm); ``None`` is the identity, with which
            coinciding voxels are copied.
    """
    return _resample(image, grid, transform, sitk.sitkLinear, sitk.sitkFloat32)


def moved(image: sitk.Image, transform: sitk.Transform | None) -> sitk.Image:
    """Move ``image`` as :func:`resample_image` does, but by changing its geometry with a rigid ``transform``."""
    return image if transform is None else sitk.TransformGeometry(image, transform)


def as_type(image: sitk.Image, pixel_type: int) -> sitk.Image:
    """The image itself if it has this pixel type already: SimpleITK would copy it."""
    return image if image.GetPixelID() == pixel_type else sitk.Cast(image, pixel_type)


def resample_labels(labels: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Resample a label map to ``grid``: each voxel gets the label with the largest linearly interpolated fraction, for
    smooth surfaces. Arguments as for :func:`resample_image`.
    """
    return _resample(labels, grid, transform, sitk.sitkLabelLinear, labels.GetPixelID())


def _resample(
    image: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None, interpolator: int, pixel_type: int
) -> sitk.Image:
    if transform is None:
        if sorted(image.GetSize()) == sorted(grid.GetSize()):
            turned = oriented_like(image, grid)
            if same_grid(turned, grid):
                return as_type(placed_as(turned, grid), pixel_type)
        transform = sitk.Transform(3, sitk.sitkIdentity)
    low, size = reached(image, grid, transform)
    if np.prod(size) > _MOST_OF_IT * grid.GetNumberOfPixels():
        return sitk.Resample(image, grid, transform, interpolator, 0.0, pixel_type)
    resampled = sitk.Image(grid.GetSize(), pixel_type)
    resampled.CopyInformation(grid)
    if all(size):
        part = sitk.RegionOfInterest(grid, size, low)
        inside = sitk.Resample(image, part, transform, interpolator, 0.0, pixel_type)
        resampled = sitk.Paste(resampled, inside, inside.GetSize(), destinationIndex=low)
    return resampled


def reached(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform) -> tuple[list[int], list[int]]:
    """First index and size (x, y, z) of the part of ``grid`` where linear interpolation of ``image`` can be non-zero;
    the whole grid for a non-linear transform, size 0 if there is none.
    """
    if not transform.IsLinear():
        return [0, 0, 0], list(grid.GetSize())
    content = sitk.GetArrayViewFromImage(image) != 0
    if not content.any():
        return [0, 0, 0], [0, 0, 0]
    sides = [(side.start - 1, side.stop) for side in reversed(bounding_box(content))]  # a voxel wider, x, y, z
    back = transform.GetInverse()
    corners = [
        grid.TransformPhysicalPointToContinuousIndex(
            back.TransformPoint(image.TransformContinuousIndexToPhysicalPoint(corner))
        )
        for corner in itertools.product(*sides)
    ]
    extent = np.array(grid.GetSize())
    low = np.clip(np.floor(np.min(corners, axis=0)), 0, extent).astype(int)
    high = np.clip(np.ceil(np.max(corners, axis=0)) + 1, 0, extent).astype(int)
    return low.tolist(), np.maximum(high - low, 0).tolist()
