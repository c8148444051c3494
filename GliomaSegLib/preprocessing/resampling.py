"""Grids: the lattice of voxels that a network sees, and the way to it and back.

Images are resampled once, from the file's own voxels straight to the network's grid through one composed transform;
labels are resampled once, from there to the reference's own grid.
"""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

# Two grids are one when no corner lies further apart than this share of a voxel: headers carry rounding noise.
GRID_TOLERANCE_VOXELS = 1e-2


def same_grid(first: sitk.Image, second: sitk.Image) -> bool:
    """Whether two images have the same voxels in space, up to ``GRID_TOLERANCE_VOXELS``."""
    if first.GetSize() != second.GetSize():
        return False
    tolerance_mm = GRID_TOLERANCE_VOXELS * min(first.GetSpacing())
    return all(math.dist(*corner) <= tolerance_mm for corner in zip(corners(first), corners(second), strict=True))


def corners(image: sitk.Image) -> list[tuple[float, float, float]]:
    """The centres of the eight corner voxels, LPS mm."""
    extent = [(0, size - 1) for size in image.GetSize()]
    return [image.TransformIndexToPhysicalPoint((i, j, k)) for i in extent[0] for j in extent[1] for k in extent[2]]


def centre(image: sitk.Image) -> tuple[float, float, float]:
    """The middle of the image's field of view, LPS mm."""
    return image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])


def model_grid(reference: sitk.Image, spacing_mm: tuple[float, float, float], orientation: str) -> sitk.Image:
    """An empty image on the grid that a network wants: the reference's field of view and axes, re-ordered and flipped
    to ``orientation`` (e.g. ``LPS``: the way the voxel axes run), with voxels of ``spacing_mm`` (x, y, z).

    A reference that has this spacing already keeps its own voxels, so that nothing is interpolated.
    """
    oriented = sitk.DICOMOrient(reference, orientation)
    size, spacing, origin_index = [], [], []
    for voxels, own, wanted in zip(oriented.GetSize(), oriented.GetSpacing(), spacing_mm, strict=True):
        keeps = abs(own - wanted) * voxels <= GRID_TOLERANCE_VOXELS * wanted
        count = voxels if keeps else max(1, round(voxels * own / wanted))
        step = own if keeps else wanted
        size.append(count)
        spacing.append(step)
        origin_index.append(((voxels - 1) * own - (count - 1) * step) / 2 / own)
    grid = sitk.Image(size, sitk.sitkUInt8)
    grid.SetSpacing(spacing)
    grid.SetDirection(oriented.GetDirection())
    grid.SetOrigin(oriented.TransformContinuousIndexToPhysicalPoint(origin_index))
    return grid


def reorient(image: sitk.Image, like: sitk.Image) -> sitk.Image:
    """The same voxels at the same places, their axes re-ordered and flipped to run as those of ``like`` do."""
    return sitk.DICOMOrient(image, sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(like.GetDirection()))


def resample_image(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """``image`` on ``grid``, ``float32``, linear, 0 outside its field of view.

    Args:
        transform: maps points of the grid to points of the image (LPS mm); ``None`` is the identity, and then voxels
            that coincide are copied, not interpolated.
    """
    return _resample(sitk.Cast(image, sitk.sitkFloat32), grid, transform, sitk.sitkLinear)


def resample_labels(labels: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """A label map on ``grid``: each voxel takes the label with the largest linearly interpolated share, so that
    surfaces stay smooth. Arguments as for :func:`resample_image`.
    """
    return _resample(labels, grid, transform, sitk.sitkLabelLinear)


def _resample(image: sitk.Image, grid: sitk.Image, transform: sitk.Transform | None, interpolator: int) -> sitk.Image:
    if transform is None:
        oriented = reorient(image, grid)
        if same_grid(oriented, grid):
            oriented.CopyInformation(grid)  # rounding noise in a header must not travel on
            return oriented
        transform = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(image, grid, transform, interpolator, 0.0, image.GetPixelID())


def array_on(array: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """An array ``[z, y, x]`` as an image with the geometry of ``grid``."""
    image = sitk.GetImageFromArray(array)
    image.CopyInformation(grid)
    return image
