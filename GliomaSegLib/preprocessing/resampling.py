"""Resampling between the files' grids and the grid that a network is given.

Images are resampled once, from the file's own voxels straight to the network's grid through one composed transform;
labels are resampled once, from there to the reference's own grid.
"""

from __future__ import annotations

import SimpleITK as sitk

from GliomaSegLib.io.grid import GRID_TOLERANCE_VOXELS, oriented, oriented_like, same_grid


def model_grid(reference: sitk.Image, spacing_mm: tuple[float, float, float], orientation: str) -> sitk.Image:
    """An empty image on the grid that a network wants: the reference's field of view and axes, re-ordered and flipped
    to ``orientation`` (e.g. ``LPS``: the way the voxel axes run), with voxels of ``spacing_mm`` (x, y, z).

    A reference that has this spacing already keeps its own voxels, so that nothing is interpolated.
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
        turned = oriented_like(image, grid)
        if same_grid(turned, grid):
            turned.CopyInformation(grid)  # rounding noise in a header must not travel on
            return turned
        transform = sitk.Transform(3, sitk.sitkIdentity)
    return sitk.Resample(image, grid, transform, interpolator, 0.0, image.GetPixelID())
