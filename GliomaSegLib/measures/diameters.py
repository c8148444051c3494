"""Diameters of lesions on a slice: of the whole shape, for reports, and of its solid part, for RANO.

RANO excludes a cyst, necrosis or a resection cavity: the solid part is measured, or the lesion is not measurable
(Wen 2010, J Clin Oncol 28:1963; Wen 2023, J Clin Oncol 41:5187). The plane is the axial one, also where another was
acquired, or the diameters of two time points could not be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

from GliomaSegLib.io.grid import orientation_of

# A lesion that fills less than SOLID_SHARE of its convex hull is hollow or lines a cavity. Its largest nodule is
# measured: one that holds a disc of NODULE_MM, the least diameter of a measurable lesion. On slices that may cut the
# wall tangentially (where the hull has less than CENTRAL_SHARE of its largest area) it must hold a ball of this size.
SOLID_SHARE, NODULE_MM, CENTRAL_SHARE = 0.75, 10.0, 0.8

# Gaps in the shape of up to so many mm are noise of segmentation, not a cavity.
_GAP_MM = 1.5
# Angle between the chords that are tried: on all slices of a hollow lesion, then on the most promising ones.
_COARSE_DEGREES, _STEP_DEGREES, _PROMISING_SLICES = 10.0, 2.0, 3
_FINEST_MM = 0.4  # least distance of the samples along a chord, else half a pixel


@dataclass(frozen=True)
class SolidSize:
    """The solid part of a lesion on one slice.

    Attributes:
        slice: index along the axis of the slices.
        long_mm, perpendicular_mm: two chords that cross at right angles and lie wholly inside the lesion.
        is_solid: false for a rim without a nodule of 10 mm: its chords run along the wall and across it, and are no
            measure of its size.
    """

    slice: int
    long_mm: float
    perpendicular_mm: float
    is_solid: bool


def diameters_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> tuple[float, float]:
    """Longest diameter of a 2-D shape and the longest one perpendicular to it, exact for the shape's convex hull.

    A pixel reaches from edge to edge: a row of ten pixels of 1 mm is 10 mm long and 1 mm wide. These are the two
    diameters of RANO's bidimensional measurement (Wen 2010, J Clin Oncol 28:1963) for a lesion without a cavity.

    Args:
        mask: non-empty, ``[row, column]``.
        spacing_mm: distance between rows and between columns, mm.
    """
    hull = _hull_mm(mask, spacing_mm)
    apart = hull[:, None] - hull[None, :]
    squared = np.einsum("ijk,ijk->ij", apart, apart)
    first, second = np.unravel_index(np.argmax(squared), squared.shape)
    long = float(np.sqrt(squared[first, second]))
    along = apart[first, second] / long
    across = np.array([-along[1], along[0]])
    return long, _longest_chord(hull @ along, hull @ across)


def solid_size(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float], axis: int) -> SolidSize:
    """The solid part of a component ``[z, y, x]`` on the slices across voxel axis ``axis`` (0 x, 1 y, 2 z).

    It is measured on the slice where the lesion with its cavity is largest; of a hollow lesion on that where the nodule
    in its wall is largest.

    Args:
        spacing_mm: x, y, z.
    """
    row_mm, column_mm = (spacing_mm[other] for other in (2, 1, 0) if other != axis)
    in_plane = (row_mm, column_mm)
    slices = np.moveaxis(mask, 2 - axis, 0)
    areas = [_hull_area_mm2(one, in_plane) if one.any() else 0.0 for one in slices]
    largest = int(np.argmax(areas))
    if slices[largest].sum() * row_mm * column_mm >= SOLID_SHARE * areas[largest]:
        return SolidSize(largest, *_sorted(_longest_chords(_Chords(slices[largest], in_plane))), is_solid=True)
    wide = np.array([_wide_part(one, in_plane) for one in slices])
    grazing = np.array(areas) < CENTRAL_SHARE * areas[largest]
    if (wide & grazing[:, None, None]).any():
        wide[grazing] &= np.moveaxis(_thick_part(mask, spacing_mm), 2 - axis, 0)[grazing]
    nodule = _largest_nodule(slices, wide, in_plane)
    if nodule is not None:
        return nodule
    chords = _longest_chords(_Chords(slices[largest], in_plane), across_the_middle=True)
    return SolidSize(largest, *_sorted(chords), is_solid=False)


class _Chords:
    """The chords of a 2-D shape in all directions: the rows and columns of samples of it in rotated frames."""

    def __init__(self, mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> None:
        rows, columns = np.nonzero(mask)
        self.box = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        self._closed = _without_gaps(mask[self.box], spacing_mm)
        self._spacing = spacing_mm
        self.step = max(_FINEST_MM, min(spacing_mm) / 2)
        self._size = np.array(self._closed.shape) * spacing_mm
        reach = int(np.ceil(np.hypot(*self._size) / 2 / self.step)) + 1
        self._x, self._y = np.meshgrid(*[(np.arange(-reach, reach) + 0.5) * self.step] * 2)

    def rotated(self, degrees: float, other: NDArray[np.bool_] | None = None) -> NDArray[np.bool_]:
        """Samples of the shape, or of another mask ``[row, column]`` in its box, in a rotated frame."""
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rows = np.floor((self._y * cos + self._x * sin + self._size[0] / 2) / self._spacing[0]).astype(int)
        columns = np.floor((self._x * cos - self._y * sin + self._size[1] / 2) / self._spacing[1]).astype(int)
        shape = self._closed if other is None else other
        there = (rows >= 0) & (rows < shape.shape[0]) & (columns >= 0) & (columns < shape.shape[1])
        found = np.zeros(there.shape, bool)
        found[there] = shape[rows[there], columns[there]]
        return found


def _longest_chords(chords: _Chords, across_the_middle: bool = False) -> tuple[float, float]:
    """The longest chord and the longest one that crosses it at right angles (optionally in its middle half), mm."""
    best = (0, 0)
    for degrees in np.arange(0, 180, _STEP_DEGREES):
        inside = chords.rotated(degrees)
        start, stop = _runs(inside)
        along, crossing = stop - start, np.subtract(*_runs(inside.T)[::-1]).T
        longest = along == along.max()
        if across_the_middle:
            longest &= _in_the_middle(start, stop)
        best = max(best, (int(along.max()), int(crossing[longest].max())))
    return best[0] * chords.step, best[1] * chords.step


def _largest_nodule(
    slices: NDArray[np.bool_], wide: NDArray[np.bool_], in_plane_mm: tuple[float, float]
) -> SolidSize | None:
    """The largest nodule of a hollow lesion; ``None`` without one.

    That is where two chords cross in the middle half of both.

    Args:
        slices: of the lesion, ``[slice, row, column]``.
        wide: the voxels in which they may cross; those of a thin wall, which holds no disc, are excluded.
    """

    def largest(place: int, step_degrees: float) -> tuple[float, float]:
        chords = _Chords(slices[place], in_plane_mm)
        best = (0.0, 0.0)
        for degrees in np.arange(0, 90, step_degrees):
            inside = chords.rotated(degrees)
            across, down = _runs(inside), _runs(inside.T)
            along, crossing = across[1] - across[0], (down[1] - down[0]).T
            middle = (
                _in_the_middle(*across) & _in_the_middle(*down).T & chords.rotated(degrees, wide[place][chords.box])
            )
            product = np.where(middle, along * crossing, 0)
            spot = np.unravel_index(np.argmax(product), product.shape)
            if product[spot] * chords.step**2 > best[0] * best[1]:
                best = float(along[spot] * chords.step), float(crossing[spot] * chords.step)
        return best

    places = [int(place) for place in np.flatnonzero(wide.any(axis=(1, 2)))]
    rough = {place: math.prod(largest(place, _COARSE_DEGREES)) for place in places}
    promising = sorted(rough, key=lambda place: (-rough[place], place))[:_PROMISING_SLICES]
    found = [SolidSize(int(place), *_sorted(largest(place, _STEP_DEGREES)), is_solid=True) for place in promising]
    nodule = max(found, key=lambda one: one.long_mm * one.perpendicular_mm, default=None)
    return nodule if nodule and nodule.long_mm else None


def _wide_part(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The part of a 2-D shape ``[row, column]`` that discs of 10 mm fill, within a pixel."""
    middles = ndimage.distance_transform_edt(np.pad(mask, 1), spacing_mm)[1:-1, 1:-1] >= NODULE_MM / 2
    if not middles.any():
        return np.zeros_like(mask)
    return mask & (ndimage.distance_transform_edt(~middles, spacing_mm) <= NODULE_MM / 2)


def _thick_part(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The part of a component ``[z, y, x]`` that balls of 10 mm fill."""
    times = [max(1, round(mm)) for mm in spacing_mm[::-1]]  # thick slices as several, or their faces would be far away
    sampling = [mm / count for mm, count in zip(spacing_mm[::-1], times, strict=True)]
    fine = np.pad(mask, 1).repeat(times[0], 0).repeat(times[1], 1).repeat(times[2], 2)
    middles = ndimage.distance_transform_edt(fine, sampling) >= (NODULE_MM + max(sampling)) / 2
    if not middles.any():
        return np.zeros_like(mask)
    near = ndimage.distance_transform_edt(~middles, sampling) <= NODULE_MM / 2
    return near[tuple(slice(count, -count, count) for count in times)] & mask


def _in_the_middle(start: NDArray[np.integer], stop: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Which pixels lie in the middle half of the run of their row."""
    return np.abs(2 * np.arange(start.shape[1]) + 1 - start - stop) <= (stop - start) / 2


def _sorted(pair: tuple[float, float]) -> tuple[float, float]:
    return max(pair), min(pair)


def axial_axis(image: sitk.Image) -> int:
    """The voxel axis (0 x, 1 y, 2 z) that runs most nearly from inferior to superior."""
    return next(axis for axis, letter in enumerate(orientation_of(image)) if letter in "SI")


def _without_gaps(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The shape with gaps of up to 1.5 mm closed."""
    reach = [int(_GAP_MM / 2 / mm) for mm in spacing_mm]
    if not any(reach):
        return mask
    element = np.ones([2 * count + 1 for count in reach], bool)
    padded = np.pad(mask, [(count, count) for count in reach])
    closed = ndimage.binary_closing(padded, element)
    return closed[tuple(slice(count, size - count) for count, size in zip(reach, padded.shape, strict=True))] | mask


def _runs(inside: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """For every true pixel where the run of true pixels along the last axis begins and has ended; 0 for the others."""
    places = np.arange(inside.shape[-1])
    start = np.maximum.accumulate(np.where(inside, -1, places), axis=-1) + 1
    stop = np.minimum.accumulate(np.where(inside, inside.shape[-1], places)[..., ::-1], axis=-1)[..., ::-1]
    return np.where(inside, start, 0), np.where(inside, stop, 0)


def _hull_area_mm2(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> float:
    row, column = _hull_mm(mask, spacing_mm).T
    return float(abs(np.sum(row * np.roll(column, -1) - column * np.roll(row, -1))) / 2)


def _hull_mm(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.float64]:
    """Corners of the convex hull of the midpoints of all pixel edges, counter-clockwise ``[n, (row, column)]`` mm."""
    rows, columns = np.nonzero(mask)
    # Of each row only the outermost pixels can lie on the hull.
    first = np.flatnonzero(np.r_[True, np.diff(rows) > 0])
    last = np.r_[first[1:] - 1, rows.size - 1]
    outer = np.concatenate([np.c_[rows, columns][first], np.c_[rows, columns][last]]).astype(float)
    midpoints = np.concatenate([outer + offset for offset in ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))])
    points = midpoints * spacing_mm
    return points[ConvexHull(points).vertices]


def _longest_chord(along: NDArray[np.float64], across: NDArray[np.float64]) -> float:
    """Greatest extent of a convex polygon in direction ``across``: it is reached at the ``along`` of some corner."""
    start, end = int(np.argmin(along)), int(np.argmax(along))
    count = along.size
    chains = []
    for begin, stop in ((start, end), (end, start)):
        corners = [(begin + step) % count for step in range((stop - begin) % count + 1)]
        order = np.argsort(along[corners], kind="stable")
        chains.append(np.interp(along, along[corners][order], across[corners][order]))
    return float(np.max(np.abs(chains[0] - chains[1])))
