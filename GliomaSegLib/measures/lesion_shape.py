"""Geometry for lesion tracking: overlap, enclosure and common resection cavities of the lesions of two time points.

All points are in a space common to the time points, LPS mm.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import cc3d
import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree, QhullError

from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_size import FollowedLesion
from GliomaSegLib.measures.volumes import cutting_borders, lesion_numbers

# Uncertainty of registration and partial volume: lesions this near may be one, and a lesion this near to a cavity
# lines it.
NEAR_MM = 2.0

# Share of a lesion without a partner that must lie in the convex hull of another to be matched with it, and inside the
# other image for its absence there to count.
_MOST = 0.5

Points = NDArray[np.float64]
Indices = NDArray[np.integer]
"""Voxels ``[n, (z, y, x)]``."""


class LesionSet:
    """The lesions of one region at one time point.

    Args:
        labels: internal label map on its own grid.
        region: the lesions are its connected components.
        lesions: those that count, as measured, largest first; other components are left out.
        from_common: maps points of a space common to all time points to this one's space, LPS mm.
        to_common: its inverse, where ITK cannot invert it (a displacement field).
        scan: the image that the labels were drawn on; planes of zeros beyond which it ends abruptly show nothing.
    """

    def __init__(
        self,
        labels: sitk.Image,
        region: Region,
        lesions: Sequence[FollowedLesion],
        from_common: sitk.Transform | None = None,
        to_common: sitk.Transform | None = None,
        scan: sitk.Image | None = None,
    ) -> None:
        self._from_common = sitk.Transform(3, sitk.sitkIdentity) if from_common is None else from_common
        self._to_common = to_common or self._from_common.GetInverse()
        self._to_mm = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
        self._to_index, self._origin = np.linalg.inv(self._to_mm), np.asarray(labels.GetOrigin())
        self._cavity = sitk.GetArrayFromImage(labels) == Label.RC
        self._first, self._last = np.clip(
            np.transpose(cutting_borders(labels, scan)), 0, np.array(self._cavity.shape) - 1
        )
        self._number(lesions, lesion_numbers(labels, region), [lesion.id for lesion in lesions])

    def _number(self, lesions: Sequence[FollowedLesion], numbers: NDArray[Any], before: Sequence[int]) -> None:
        """Number the lesions from 1 on, where ``numbers [z, y, x]`` holds those ``before``."""
        self.lesions = tuple(lesions)
        number_of = np.zeros(int(numbers.max()) + 1, numbers.dtype)
        number_of[list(before)] = np.arange(1, len(before) + 1)
        self._numbers = number_of[numbers]
        self._index = np.argwhere(self._numbers)
        self._number_of_point = self._numbers[tuple(self._index.T)]
        self._points = self._in_common(self._index)
        self._boxes = ndimage.find_objects(self._numbers, max_label=len(self.lesions))
        self._indices_of: dict[int, Indices] = {}
        self._filled: dict[int, NDArray[np.bool_]] = {}
        self._lined: dict[int, frozenset[int]] = {}

    def only(self, lesions: Sequence[FollowedLesion]) -> LesionSet:
        """The same time point with these of its lesions."""
        number_of = {lesion.id: number for number, lesion in enumerate(self.lesions, start=1)}
        fewer = copy.copy(self)
        fewer._number(lesions, self._numbers, [number_of[lesion.id] for lesion in lesions])
        return fewer

    def overlap(self, other: LesionSet) -> NDArray[np.bool_]:
        """``[own, other]``: whether a voxel's centre of one lesion lies in a voxel of the other, either way."""
        shared = np.zeros((len(self.lesions) + 1, len(other.lesions) + 1), bool)
        shared[self._number_of_point, _at(other._numbers, other._index_of(self))] = True
        shared[_at(self._numbers, self._index_of(other)), other._number_of_point] = True
        return shared[1:, 1:]

    def covers(self, other: LesionSet, number: int) -> bool:
        """Whether most of another time point's lesion lies inside what this one's image shows."""
        index = self._index_of(other, number)
        return bool(np.all((index >= self._first) & (index <= self._last), axis=1).mean() > _MOST)

    def encloses(self, number: int, other: LesionSet, number_there: int) -> bool:
        """Whether a voxel of another time point's lesion lies inside a lesion or its holes."""
        corner = [part.start for part in self._boxes[number - 1]]
        return bool(_at(self._filled_shape(number), self._index_of(other, number_there) - corner).any())

    def points_of(self, number: int) -> Points:
        """Centres of a lesion's voxels, ``[n, 3]``."""
        return self._points[self._number_of_point == number]

    def cavities_of(self, number: int) -> frozenset[int]:
        """The resection cavities, by number, that a lesion lines."""
        if number not in self._lined and self._cavity_index.size:
            lesion = self._index[self._number_of_point == number]
            distance, nearest = self._cavity_tree.query(self.points_of(number))
            touches = np.abs(lesion - self._cavity_index[nearest]).max(axis=1) <= 1
            near = nearest[touches | (distance <= NEAR_MM)]
            self._lined[number] = frozenset(self._cavity_of_point[near].tolist())
        return self._lined.get(number, frozenset())

    def points_of_cavities(self, cavities: frozenset[int]) -> Points:
        """Centres of the voxels of these cavities, ``[n, 3]``."""
        return self._cavity_points[np.isin(self._cavity_of_point, list(cavities))]

    def cavities_at(self, points: Points) -> frozenset[int]:
        """The resection cavities, by number, in which points lie."""
        return frozenset(_at(self._cavity_numbers, self._indices(points)).tolist()) - {0}

    @cached_property
    def _cavity_numbers(self) -> NDArray[np.uint32]:
        return cc3d.connected_components(self._cavity, connectivity=26).astype(np.uint32)

    @cached_property
    def _cavity_index(self) -> Indices:
        return np.argwhere(self._cavity_numbers)

    @cached_property
    def _cavity_of_point(self) -> NDArray[np.uint32]:
        return self._cavity_numbers[self._cavity_numbers > 0]

    @cached_property
    def _cavity_points(self) -> Points:
        return self._in_common(self._cavity_index)

    @cached_property
    def _cavity_tree(self) -> KDTree:
        return KDTree(self._cavity_points)

    def _filled_shape(self, number: int) -> NDArray[np.bool_]:
        """A lesion with its holes filled, in three dimensions and on the slices of every plane, inside its box."""
        if number not in self._filled:
            mask = self._numbers[self._boxes[number - 1]] == number
            filled = ndimage.binary_fill_holes(mask)
            for axis in range(3):
                for place in range(mask.shape[axis]):
                    plane = (*[slice(None)] * axis, place)
                    filled[plane] |= ndimage.binary_fill_holes(mask[plane])
            self._filled[number] = filled
        return self._filled[number]

    def _in_common(self, index: Indices) -> Points:
        return _transformed(index[:, ::-1] @ self._to_mm.T + self._origin, self._to_common)

    def _indices(self, points: Points) -> Indices:
        """The voxels in which points lie; they may be outside the image."""
        return np.rint((_transformed(points, self._from_common) - self._origin) @ self._to_index.T).astype(int)[:, ::-1]

    def _index_of(self, other: LesionSet, number: int | None = None) -> Indices:
        """The voxels of this image in which another time point's lesion, or all of them, have their voxels."""
        if id(other) not in self._indices_of:
            self._indices_of[id(other)] = self._indices(other._points)
        found = self._indices_of[id(other)]
        return found if number is None else found[other._number_of_point == number]


def encloses(earlier: LesionSet, i: int, later: LesionSet, j: int) -> bool:
    """Whether one lesion lies, at least in part, inside the other or its holes."""
    return earlier.encloses(i, later, j) or later.encloses(j, earlier, i)


def line_one_cavity(earlier: LesionSet, i: int, later: LesionSet, j: int) -> bool:
    """Whether two lesions line the same resection cavity, at most as far apart as its wall has moved there."""
    before, after = earlier.cavities_of(i), later.cavities_of(j)
    if not before or not after or not later.cavities_at(earlier.points_of_cavities(before)) & after:
        return False
    apart, nearest = KDTree(earlier.points_of(i)).query(later.points_of(j))
    here = earlier.points_of(i)[nearest[apart.argmin()]]
    moved = KDTree(later.points_of_cavities(after)).query(here)[0]
    return bool(apart.min() <= moved + NEAR_MM)


def match_unpaired(earlier: LesionSet, i: int, later: LesionSet, newcomers: Sequence[int]) -> list[int]:
    """The later lesions, of those without a partner, that match an earlier one without a partner.

    Those that lie mostly in its convex hull, or it in theirs (a rim that is open to one side); else the nearest one
    within 2 mm.
    """
    before = earlier.points_of(i)
    points = {j: later.points_of(j) for j in newcomers}
    inside = [j for j, after in points.items() if _mostly_in_hull(before, after) or _mostly_in_hull(after, before)]
    if inside:
        return inside
    distance = {j: KDTree(after).query(before)[0].min() for j, after in points.items()}
    nearest = min(distance, key=distance.__getitem__, default=None)
    return [] if nearest is None or distance[nearest] > NEAR_MM else [nearest]


def _mostly_in_hull(points: Points, of: Points) -> bool:
    """Whether most of the points lie in the convex hull of others."""
    try:
        faces = ConvexHull(of).equations
    except (QhullError, ValueError):  # too few points, or all in one plane
        return False
    return bool((points @ faces[:, :3].T + faces[:, 3] <= 1e-9).all(axis=1).mean() > _MOST)


def _at(array: NDArray, index: Indices) -> NDArray:
    """The values at indices ``[n, 3]``, 0 outside."""
    inside = np.all((index >= 0) & (index < array.shape), axis=1)
    found = np.zeros(len(index), array.dtype)
    found[inside] = array[tuple(index[inside].T)]
    return found


def _transformed(points: Points, transform: sitk.Transform) -> Points:
    """Points ``[n, 3]`` under a transform, which need not be linear."""
    if not transform.IsLinear():
        return np.reshape([transform.TransformPoint(point) for point in points.tolist()], (-1, 3))
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(3).tolist()]
    return points @ np.array(columns) + shift
