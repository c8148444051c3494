"""Voxel grids of images: comparison, orientation, and conversion between arrays and images."""

from __future__ import annotations

import locale
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.io.geometry import orthonormal_direction

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])

# Two grids are the same if no corners are further apart than this fraction of a voxel: headers are rounded.
GRID_TOLERANCE_VOXELS = 1e-2

_OPPOSITE = ({"L", "R"}, {"P", "A"}, {"S", "I"})  # directions along one axis


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
    """The centre of the field of view, LPS mm."""
    return image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])


def orientation_of(image: sitk.Image) -> str:
    """The orientation code of the voxel axes x, y, z, e.g. ``LPS``; for oblique grids the nearest one."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def oriented(image: sitk.Image, orientation: str = "LPS") -> sitk.Image:
    """Reorient an image by permuting and flipping its axes, without resampling.

    An image with this orientation is returned itself: SimpleITK would copy shared pixels at the first array view.
    """
    own = orientation_of(image)
    if own == orientation and not image.GetMetaDataKeys():  # DICOMOrient drops metadata
        return image
    pairs = [{*ways} for ways in zip(own, orientation, strict=True)]
    if all(len(pair) == 1 or pair in _OPPOSITE for pair in pairs):
        return sitk.Flip(image, [len(pair) > 1 for pair in pairs])
    return sitk.DICOMOrient(image, orientation)  # copies the voxels twice


def upright_view(image: sitk.Image) -> NDArray[Any]:
    """A view of the voxels ``[z, y, x]`` in LPS orientation, without a copy: ``image`` must outlive it."""
    code = orientation_of(image)
    array = sitk.GetArrayViewFromImage(image)
    axes = [next(axis for axis, way in enumerate(code) if way in ways) for ways in ("SI", "PA", "LR")]  # z, y, x
    flips = tuple(slice(None, None, 1 if code[axis] in "LPS" else -1) for axis in axes)
    return array.transpose([2 - axis for axis in axes])[flips]


def oriented_like(image: sitk.Image, other: sitk.Image) -> sitk.Image:
    """Reorient an image to the orientation of ``other``, without resampling."""
    return oriented(image, orientation_of(other))


def placed_as(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """The image with exactly the geometry of ``grid``, whose voxels it has: rounding noise must not travel on."""
    if all(getattr(image, get)() == getattr(grid, get)() for get in ("GetOrigin", "GetSpacing", "GetDirection")):
        return image
    placed = sitk.Image(image)
    placed.CopyInformation(grid)
    return placed


def empty_like(image: sitk.Image) -> sitk.Image:
    """An empty ``uint8`` image on the grid of another."""
    empty = sitk.Image(image.GetSize(), sitk.sitkUInt8)
    empty.CopyInformation(image)
    return empty


def array_on(array: np.ndarray, grid: sitk.Image) -> sitk.Image:
    """An image from an array ``[z, y, x]``, or of vectors ``[z, y, x, 3]``, with the geometry of ``grid``."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.CopyInformation(grid)
    return image


def image_from_affine(array: np.ndarray, affine: NDArray[np.float64], source: str) -> sitk.Image:
    """An image from an array ``[x, y, z]`` with the geometry of ``affine`` (4 x 4, voxel indices to LPS mm).

    Raises:
        InputError: the axes are sheared; ``source`` names the image in the message.
    """
    image = sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0)))
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    image.SetDirection(orthonormal_direction(affine[:3, :3] / spacing, source).ravel().tolist())
    return image


def affine_of(image: sitk.Image) -> NDArray[np.float64]:
    """The 4 x 4 matrix from voxel indices (x, y, z) to RAS mm, as nibabel has it."""
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return RAS_TO_LPS @ affine


def uncropped(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """Pad a cropped image with 0 to the ``grid`` from which it was cropped.

    The voxels of both coincide, so that nearest-neighbour resampling copies them.
    """
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, image.GetPixelID())


@contextmanager
def quiet_itk() -> Iterator[None]:
    """Context for ITK's readers and writers: no warnings on stderr (errors are still exceptions), and a decimal point
    also if the locale of the process has a comma, which NRRD's reader and writer would use. The locale stays as it was:
    VTK's reader sets "C", in which Python takes text files for ASCII."""
    shown, before = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_ALL)
    has_point = locale.localeconv()["decimal_point"] == "."
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        if not has_point:
            locale.setlocale(locale.LC_NUMERIC, "C")
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        if locale.setlocale(locale.LC_ALL) != before:
            locale.setlocale(locale.LC_ALL, before)
