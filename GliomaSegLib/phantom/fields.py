"""Boxes and grids in the head's space, and fields on them: coordinates, distances, smooth randomness."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray

from GliomaSegLib.io.grid import array_on

Field = NDArray[np.floating]  # a scalar in every voxel of the head's grid, [z, y, x]


class Box(NamedTuple):
    """A box along the axes L, P, S of MNI's space, in mm."""

    first_mm: tuple[float, float, float]
    last_mm: tuple[float, float, float]

    def grown(self, margin_mm: float) -> Box:
        return Box(tuple(np.subtract(self.first_mm, margin_mm)), tuple(np.add(self.last_mm, margin_mm)))

    def within(self, other: Box) -> Box:
        return Box(tuple(np.maximum(self.first_mm, other.first_mm)), tuple(np.minimum(self.last_mm, other.last_mm)))

    def grid(self, spacing_mm: float) -> sitk.Image:
        """An empty image over the box, its voxels on multiples of the spacing."""
        first = np.ceil(np.divide(self.first_mm, spacing_mm))
        last = np.floor(np.divide(self.last_mm, spacing_mm))
        grid = sitk.Image([int(count) for count in last - first + 1], sitk.sitkUInt8)
        grid.SetSpacing((spacing_mm,) * 3)
        grid.SetOrigin((first * spacing_mm).tolist())
        return grid


def region_of(part: sitk.Image, whole: sitk.Image) -> tuple[slice, ...]:
    """Where the voxels of ``part`` lie in arrays of ``whole``; both from :class:`Box` with the same spacing."""
    first = whole.TransformPhysicalPointToIndex(part.GetOrigin())
    return tuple(slice(start, start + size) for start, size in zip(first[::-1], part.GetSize()[::-1], strict=True))


def axes_mm(grid: sitk.Image) -> list[NDArray[np.float64]]:
    """Coordinates along the array's axes (z, y, x), in mm. Direction cosines are not applied."""
    size, spacing, origin = grid.GetSize(), grid.GetSpacing(), grid.GetOrigin()
    return [origin[axis] + spacing[axis] * np.arange(size[axis]) for axis in (2, 1, 0)]


def mesh_mm(grid: sitk.Image) -> tuple[Field, Field, Field]:
    """Coordinates x, y, z (LPS mm) of every voxel, ready to broadcast."""
    z, y, x = np.ix_(*(axis.astype(np.float32) for axis in axes_mm(grid)))
    return x, y, z


def random_field(random: np.random.Generator, grid: sitk.Image, length_mm: float) -> Field:
    """A smooth Gaussian random field with mean 0 and variance 1 in every voxel.

    White noise on coarse nodes fixed in space, smoothed by a Gaussian of ``length_mm``: the field does not depend on
    the grid, so that a phantom looks the same at every spacing.
    """
    nodes = np.arange(-160.0, 160.0 + length_mm, length_mm)
    field = random.standard_normal((len(nodes),) * 3)
    for axis, coordinates in enumerate(axes_mm(grid)):
        weights = np.exp(-0.5 * ((coordinates[:, None] - nodes) / length_mm) ** 2)
        weights /= np.linalg.norm(weights, axis=1, keepdims=True)
        field = np.moveaxis(np.tensordot(weights, field, axes=(1, axis)), 0, axis)
    return field.astype(np.float32)


def distance_mm(mask: NDArray[np.bool_], grid: sitk.Image) -> Field:
    """Signed distance to the mask's surface in mm, negative inside."""
    distance_mm = sitk.SignedMaurerDistanceMap(
        array_on(mask.astype(np.uint8), grid), insideIsPositive=False, squaredDistance=False, useImageSpacing=True
    )
    return sitk.GetArrayFromImage(distance_mm)


def fraction_inside(distance_mm: Field, edge_mm: float) -> Field:
    """Share of a voxel that lies inside a surface at a signed distance: a ramp ``edge_mm`` wide (partial volume)."""
    return np.clip(0.5 - distance_mm / edge_mm, 0, 1, dtype=np.float32)
