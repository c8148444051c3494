"""Diameters of lesions on a slice: of the whole shape, as a report gives them, and of its solid part, as RANO asks.

RANO leaves a cyst, necrosis or a resection cavity out: the solid part is measured, or the lesion is not measurable
(Wen 2010, J Clin Oncol 28:1963; Wen 2023, J Clin Oncol 41:5187). The plane is the axial one, also where another was
acquired, or the diameters of two time points could not be compared.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull

# A lesion that fills less than this share of its convex hull is hollow, or lines something; of it a nodule is measured
# in which a ball of so many mm has room, the least diameter of a measurable lesion.
SOLID_SHARE, NODULE_MM = 0.75, 10.0

# Gaps in the shape of up to so many mm are noise of segmentation, not a cavity.
_GAP_MM = 1.5
# Between the directions of the chords that are tried: on all slices with a nodule, then on so many of them.
_COARSE_DEGREES, _STEP_DEGREES, _PROMISING_SLICES = 10.0, 2.0, 3
_FINEST_MM = 0.4  # distance of the samples along a chord: half a pixel, but not less


@dataclass(frozen=True)
class SolidSize:
    """The solid part of a lesion on one slice.

    Attributes:
        slice: index along the axis of the slices.
        long_mm, perpendicular_mm: two chords that cross at right angles and lie wholly inside the lesion.
        is_solid: false for a rim without a nodule in which a ball of 10 mm has room: its chords run along the wall and
            across it, and do not tell its size.
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
        return SolidSize(largest, *chords_mm(slices[largest], in_plane), is_solid=True)
    nodules = np.moveaxis(_nodules(mask, spacing_mm), 2 - axis, 0)
    there = [place for place, one in enumerate(nodules) if one.any()]
    if there:
        rough = {place: np.prod(chords_mm(nodules[place], in_plane, _COARSE_DEGREES)) for place in there}
        promising = sorted(there, key=lambda place: -rough[place])[:_PROMISING_SLICES]
        found = [SolidSize(place, *chords_mm(nodules[place], in_plane), is_solid=True) for place in promising]
        return max(found, key=lambda one: one.long_mm * one.perpendicular_mm)
    return SolidSize(largest, *chords_mm(slices[largest], in_plane, across_the_middle=True), is_solid=False)


def chords_mm(
    mask: NDArray[np.bool_],
    spacing_mm: tuple[float, float],
    step_degrees: float = _STEP_DEGREES,
    across_the_middle: bool = False,
) -> tuple[float, float]:
    """The longest chord that lies wholly inside a 2-D shape, and the longest one that crosses it at right angles.

    For a convex shape these are its diameters, within a pixel.

    Args:
        mask: non-empty, ``[row, column]``; a cavity is a hole or a bay in it.
        spacing_mm: distance between rows and between columns, mm.
        step_degrees: between the directions that are tried.
        across_the_middle: the second one crosses the first one's middle half.
    """
    closed = _without_gaps(mask, spacing_mm)
    step = max(_FINEST_MM, min(spacing_mm) / 2)
    size_mm = np.array(closed.shape) * spacing_mm
    reach = int(np.ceil(np.hypot(*size_mm) / 2 / step)) + 1
    samples = (np.arange(-reach, reach) + 0.5) * step
    x, y = np.meshgrid(samples, samples)
    best = (0, 0)
    for degrees in np.arange(0, 180, step_degrees):
        cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
        rows = np.floor((y * cos + x * sin + size_mm[0] / 2) / spacing_mm[0]).astype(int)
        columns = np.floor((x * cos - y * sin + size_mm[1] / 2) / spacing_mm[1]).astype(int)
        there = (rows >= 0) & (rows < closed.shape[0]) & (columns >= 0) & (columns < closed.shape[1])
        turned = np.zeros(there.shape, bool)
        turned[there] = closed[rows[there], columns[there]]
        start, stop = _runs(turned)
        along, crossing = stop - start, np.subtract(*_runs(turned.T)[::-1]).T
        longest = along == along.max()
        if across_the_middle:
            longest &= np.abs(2 * np.arange(turned.shape[1]) + 1 - start - stop) <= along / 2
        best = max(best, (int(along.max()), int(crossing[longest].max())))
    return best[0] * step, min(best) * step


def axial_axis(image: sitk.Image) -> int:
    """The voxel axis (0 x, 1 y, 2 z) that runs most nearly from inferior to superior."""
    direction = np.reshape(image.GetDirection(), (3, 3))
    return int(np.argmax(np.abs(direction[2])))


def _without_gaps(mask: NDArray[np.bool_], spacing_mm: tuple[float, float]) -> NDArray[np.bool_]:
    """The shape, cropped, with gaps of up to 1.5 mm closed."""
    rows, columns = np.nonzero(mask)
    cropped = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    reach = [int(_GAP_MM / 2 / mm) for mm in spacing_mm]
    if not any(reach):
        return cropped
    element = np.ones([2 * count + 1 for count in reach], bool)
    padded = np.pad(cropped, [(count, count) for count in reach])
    closed = ndimage.binary_closing(padded, element)
    return closed[tuple(slice(count, size - count) for count, size in zip(reach, padded.shape, strict=True))] | cropped


def _nodules(mask: NDArray[np.bool_], spacing_mm: tuple[float, float, float]) -> NDArray[np.bool_]:
    """The part of a component ``[z, y, x]`` in or near a ball of 10 mm that has room in it."""
    times = [max(1, round(mm)) for mm in spacing_mm[::-1]]  # thick slices as several, or their faces would be far away
    sampling = [mm / count for mm, count in zip(spacing_mm[::-1], times, strict=True)]
    fine = np.pad(mask, 1).repeat(times[0], 0).repeat(times[1], 1).repeat(times[2], 2)
    middles = ndimage.distance_transform_edt(fine, sampling) >= (NODULE_MM + max(sampling)) / 2
    if not middles.any():
        return np.zeros_like(mask)
    near = fine & (ndimage.distance_transform_edt(~middles, sampling) <= NODULE_MM)
    return near[tuple(slice(count, -count, count) for count in times)] & mask


def _runs(inside: NDArray[np.bool_]) -> tuple[NDArray[np.integer], NDArray[np.integer]]:
    """For every true pixel where its row's run of true pixels begins and has ended; 0 and 0 for the others."""
    columns = np.arange(inside.shape[1])
    start = np.maximum.accumulate(np.where(inside, -1, columns), axis=1) + 1
    stop = np.minimum.accumulate(np.where(inside, inside.shape[1], columns)[:, ::-1], axis=1)[:, ::-1]
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
