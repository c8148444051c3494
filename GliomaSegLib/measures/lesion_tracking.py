"""Which lesion is which at the next time point: new, gone, grown, shrunk, split, merged.

Lesions are compared as they were segmented, each on its own grid: only the points of their voxels are moved, so that
registration, rigid or not, changes no volume and loses no small lesion.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from enum import Enum

import numpy as np
import SimpleITK as sitk
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from GliomaSegLib.labels import Region
from GliomaSegLib.measures.volumes import Lesion, lesion_numbers
from GliomaSegLib.record import Record

# Lesions that share no voxel, one without any partner before and one without any after, are taken for one lesion when
# they come this near: less is what registration and partial volume leave open.
NEAR_MM = 2.0

# A lesion that changes its volume by less than this is called unchanged. It is this program's own limit, above the
# noise of segmentation; the criteria of response have their own.
UNCHANGED_WITHIN = 0.2


class Change(str, Enum):
    """What became of a lesion since the time point before."""

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    UNCHANGED = "unchanged"
    SPLIT = "split"
    MERGED = "merged"
    SPLIT_AND_MERGED = "split and merged"


class LesionChange(Record):
    """One thing that happened between two time points.

    Attributes:
        before, after: identities that took part; none before is a new lesion, none after one that is gone.
        before_ml, after_ml: their volumes together.
    """

    change: Change
    before: tuple[int, ...]
    after: tuple[int, ...]
    before_ml: float
    after_ml: float

    @property
    def fraction(self) -> float | None:
        """Relative change of volume; ``None`` for a new lesion."""
        return (self.after_ml - self.before_ml) / self.before_ml if self.before_ml else None


class Track(Record):
    """A lesion over all time points; ``lesions`` holds ``None`` where it is not there, or is part of another one.

    ``id`` stays with it: after a split the largest part keeps it, after a merger that of the largest part stays.
    """

    id: int
    lesions: tuple[Lesion | None, ...]


class LesionHistory(Record):
    """The lesions of one region over all time points, and what happened in between."""

    region: Region
    tracks: tuple[Track, ...]
    steps: tuple[tuple[LesionChange, ...], ...]


class LesionSet:
    """The lesions of one region at one time point.

    Args:
        labels: internal label map on its own grid.
        region: whose components are meant.
        lesions: as measured, in the order of their numbers.
        from_common: takes points of a space common to all time points to this one's, LPS mm.
        to_common: its inverse, where it has none by itself, as when it bends.
    """

    def __init__(
        self,
        labels: sitk.Image,
        region: Region,
        lesions: Sequence[Lesion],
        from_common: sitk.Transform | None = None,
        to_common: sitk.Transform | None = None,
    ) -> None:
        self.lesions = tuple(lesions)
        self._from_common = sitk.Transform(3, sitk.sitkIdentity) if from_common is None else from_common
        self._numbers = lesion_numbers(labels, region)
        to_mm = np.reshape(labels.GetDirection(), (3, 3)) * labels.GetSpacing()
        self._to_index, self._origin = np.linalg.inv(to_mm), np.asarray(labels.GetOrigin())
        inside = np.argwhere(self._numbers)
        self._number_of_point = self._numbers[tuple(inside.T)]
        own = inside[:, ::-1] @ to_mm.T + self._origin
        self._points = _moved(own, to_common or self._from_common.GetInverse())

    def overlap(self, other: LesionSet) -> NDArray[np.bool_]:
        """``[own, other]``: whether a voxel's centre of one lesion lies in a voxel of the other, either way."""
        shared = np.zeros((len(self.lesions) + 1, len(other.lesions) + 1), bool)
        shared[self._number_of_point, other._numbers_at(self._points)] = True
        shared[self._numbers_at(other._points), other._number_of_point] = True
        return shared[1:, 1:]

    def points_of(self, number: int) -> NDArray[np.float64]:
        """Centres of a lesion's voxels in the common space, ``[n, 3]`` LPS mm."""
        return self._points[self._number_of_point == number]

    def _numbers_at(self, points: NDArray[np.float64]) -> NDArray[np.uint32]:
        """The lesion in whose voxel each point of the common space lies, 0 for none."""
        index = np.rint((_moved(points, self._from_common) - self._origin) @ self._to_index.T).astype(int)[:, ::-1]
        inside = np.all((index >= 0) & (index < self._numbers.shape), axis=1)
        found = np.zeros(len(points), np.uint32)
        found[inside] = self._numbers[tuple(index[inside].T)]
        return found


def follow(time_points: Sequence[LesionSet], region: Region) -> LesionHistory:
    """Follow all lesions from the first time point to the last."""
    names = [list(range(1, len(time_points[0].lesions) + 1))]
    tracks = {name: [lesion] for name, lesion in zip(names[0], time_points[0].lesions, strict=True)}
    steps = []
    for number, (earlier, later) in enumerate(itertools.pairwise(time_points), start=1):
        for lesions in tracks.values():
            lesions.append(None)
        taken, happened = _step(earlier, later, names[-1], first_free=max(tracks, default=0) + 1)
        for name, lesion in zip(taken, later.lesions, strict=True):
            tracks.setdefault(name, [None] * (number + 1))[number] = lesion
        names.append(taken)
        steps.append(tuple(happened))
    return LesionHistory(
        region=region,
        tracks=tuple(Track(id=name, lesions=tuple(lesions)) for name, lesions in sorted(tracks.items())),
        steps=tuple(steps),
    )


def linked(earlier: LesionSet, later: LesionSet) -> NDArray[np.bool_]:
    """``[earlier, later]``: which lesions belong together, by overlap, else by being near."""
    links = earlier.overlap(later)
    alone, newcomers = np.flatnonzero(~links.any(axis=1)), np.flatnonzero(~links.any(axis=0))
    trees = {j: KDTree(later.points_of(j + 1)) for j in newcomers}
    for i in alone:
        distance = {j: trees[j].query(earlier.points_of(i + 1))[0].min() for j in newcomers}
        nearest = min(distance, key=distance.__getitem__, default=None)
        if nearest is not None and distance[nearest] <= NEAR_MM:
            links[i, nearest] = True
    return links


def _step(
    earlier: LesionSet, later: LesionSet, names: Sequence[int], first_free: int
) -> tuple[list[int], list[LesionChange]]:
    """The identities of the later lesions, and what happened; ``names`` are those of the earlier ones."""
    links = linked(earlier, later)
    taken: dict[int, int] = {}
    happened = []
    for before, after in _groups(links):
        # Components are numbered by size, so that the first of each side is the largest one.
        if before and after:
            taken[after[0]] = names[before[0]]
        for j in after:
            if j not in taken:
                taken[j] = first_free
                first_free += 1
        before_ml = sum(earlier.lesions[i].volume_ml for i in before)
        after_ml = sum(later.lesions[j].volume_ml for j in after)
        happened.append(
            LesionChange(
                change=_change(len(before), len(after), before_ml, after_ml),
                before=tuple(names[i] for i in before),
                after=tuple(taken[j] for j in after),
                before_ml=before_ml,
                after_ml=after_ml,
            )
        )
    return [taken[j] for j in range(len(later.lesions))], happened


def _groups(links: NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """Lesions that hang together by links: the earlier and the later ones of each group, in order of size."""
    earlier, later = links.shape
    i, j = np.nonzero(links)
    graph = coo_array((np.ones(len(i)), (i, earlier + j)), shape=(earlier + later,) * 2)
    count, group = connected_components(graph, directed=False)
    members = [np.flatnonzero(group == number).tolist() for number in range(count)]
    return [([k for k in one if k < earlier], [k - earlier for k in one if k >= earlier]) for one in members]


def _change(before: int, after: int, before_ml: float, after_ml: float) -> Change:
    if not before:
        return Change.NEW
    if not after:
        return Change.GONE
    if before > 1 or after > 1:
        return Change.SPLIT_AND_MERGED if before > 1 and after > 1 else Change.MERGED if before > 1 else Change.SPLIT
    if abs(after_ml - before_ml) <= UNCHANGED_WITHIN * before_ml:
        return Change.UNCHANGED
    return Change.GROWN if after_ml > before_ml else Change.SHRUNK


def _moved(points: NDArray[np.float64], transform: sitk.Transform) -> NDArray[np.float64]:
    """Points ``[n, 3]`` under a transform, which may be one that bends."""
    if not transform.IsLinear():
        return np.reshape([transform.TransformPoint(point) for point in points.tolist()], (-1, 3))
    shift = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    columns = [np.array(transform.TransformPoint(axis)) - shift for axis in np.eye(3).tolist()]
    return points @ np.array(columns) + shift
