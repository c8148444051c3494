"""The voxel grid of an image: comparing grids, the order of the voxel axes, and arrays with their geometry."""

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

# Two grids are one when no corner lies further apart than this share of a voxel: headers carry rounding noise.
GRID_TOLERANCE_VOXELS = 1e-2

_OPPOSITE = ({"L", "R"}, {"P", "A"}, {"S", "I"})  # ways along one axis


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


def orientation_of(image: sitk.Image) -> str:
    """The patient directions to which the voxel axes x, y, z run, e.g. ``LPS``; on oblique grids the nearest ones."""
    return sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())


def oriented(image: sitk.Image, orientation: str = "LPS") -> sitk.Image:
    """The same voxels at the same places, their axes re-ordered and flipped to run to ``orientation``.

    An image that is oriented so already is the result itself: SimpleITK would copy what two images share as soon as an
    array of one is looked at.
    """
    own = orientation_of(image)
    if own == orientation and not image.GetMetaDataKeys():  # which DICOMOrient drops
        return image
    pairs = [{*ways} for ways in zip(own, orientation, strict=True)]
    if all(len(pair) == 1 or pair in _OPPOSITE for pair in pairs):
        return sitk.Flip(image, [len(pair) > 1 for pair in pairs])
    return sitk.DICOMOrient(image, orientation)  # which copies the voxels twice


def upright_view(image: sitk.Image) -> NDArray[Any]:
    """The voxels ``[z, y, x]`` with their axes running LPS, not copied: ``image`` must be kept as long as they are."""
    code = orientation_of(image)
    array = sitk.GetArrayViewFromImage(image)
    axes = [next(axis for axis, way in enumerate(code) if way in ways) for ways in ("SI", "PA", "LR")]  # z, y, x
    flips = tuple(slice(None, None, 1 if code[axis] in "LPS" else -1) for axis in axes)
    return array.transpose([2 - axis for axis in axes])[flips]


def oriented_like(image: sitk.Image, other: sitk.Image) -> sitk.Image:
    """The same voxels at the same places, their axes re-ordered and flipped to run as those of ``other`` do."""
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
    """An array ``[z, y, x]``, or of vectors ``[z, y, x, 3]``, as an image with the geometry of ``grid``."""
    image = sitk.GetImageFromArray(array, isVector=array.ndim == 4)
    image.CopyInformation(grid)
    return image


def image_from_affine(array: np.ndarray, affine: NDArray[np.float64], source: str) -> sitk.Image:
    """An array ``[x, y, z]`` as an image with the geometry of ``affine`` (4 x 4, voxel indices to LPS mm).

    Raises:
        InputError: the axes are sheared; ``source`` names the image in the sentence.
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
    """A cropped image on the whole ``grid`` that it was cropped from, 0 outside.

    The voxels of both coincide, so that nearest neighbours are copies.
    """
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor, 0.0, image.GetPixelID())


@contextmanager
def quiet_itk() -> Iterator[None]:
    """For ITK's readers and writers: warnings stay off stderr (errors still come as exceptions), and numbers have a
    decimal point where the process's locale has a comma, which NRRD's reader and writer would use."""
    shown, numbers = sitk.ProcessObject.GetGlobalWarningDisplay(), locale.setlocale(locale.LC_NUMERIC)
    has_point = locale.localeconv()["decimal_point"] == "."
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    try:
        if not has_point:
            locale.setlocale(locale.LC_NUMERIC, "C")
        yield
    finally:
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        if not has_point:
            locale.setlocale(locale.LC_NUMERIC, numbers)
