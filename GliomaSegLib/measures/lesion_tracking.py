"""Lesion tracking: matches the lesions of successive time points; finds which are new, gone, grown, split or merged.

Lesions are compared as they were segmented, each on its own grid: only the centres of their voxels are transformed, so
that registration, rigid or deformable, changes no volume and loses no small lesion.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from enum import Enum

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_shape import LesionSet, encloses, line_one_cavity, match_unpaired
from GliomaSegLib.measures.lesion_size import FollowedLesion, counted
from GliomaSegLib.record import Record

# A relative change of volume up to this is called unchanged: a convention of this program, above the noise of
# segmentation; the criteria of response have their own limits.
UNCHANGED_WITHIN = 0.2

# A component of at least this share of the least lesion counts as one where the next study shows a lesion: this is not
# new when the segmentation of a small one has only wavered about the limit. Smaller ones are noise.
_LIKELY = 0.5


class Change(str, Enum):
    """The change of a lesion since the previous time point."""

    NEW = "new"
    GONE = "gone"
    GROWN = "grown"
    SHRUNK = "shrunk"
    UNCHANGED = "unchanged"
    SPLIT = "split"
    MERGED = "merged"
    SPLIT_AND_MERGED = "split and merged"
    NOT_COVERED = "outside the other image"


class LesionChange(Record):
    """One change between two time points.

    Attributes:
        before, after: identities of the lesions involved. None before is a new lesion, none after one that is gone
            since the last study that shows its position, unless this lies outside the other image.
        before_ml, after_ml: their total volumes.
        last_free: of a new lesion the last study, as an index, that shows its position without it; ``None`` for other
            changes, and in comparisons of version 0.1, where that was always the study before.
    """

    change: Change
    before: tuple[int, ...]
    after: tuple[int, ...]
    before_ml: float
    after_ml: float
    last_free: int | None = None

    @property
    def fraction(self) -> float | None:
        """Relative change of volume; ``None`` for a new lesion."""
        return (self.after_ml - self.before_ml) / self.before_ml if self.before_ml else None


class Track(Record):
    """A lesion over all time points; ``lesions`` holds ``None`` where it is absent, or is part of another one.

    ``id`` stays with it: after a split the largest part keeps it, after a merger that of the largest part stays.
    """

    id: int
    lesions: tuple[FollowedLesion | None, ...]


class LesionHistory(Record):
    """The lesions of one region over all time points, and the changes in between."""

    region: Region
    tracks: tuple[Track, ...]
    steps: tuple[tuple[LesionChange, ...], ...]

    def groups(self, start: int = 0) -> tuple[tuple[int, ...], ...]:
        """The identities that belong to one lesion from time point ``start`` on, in the order of the smallest.

        Lesions that split or merge at any time after ``start`` are one group at all of them: were only a part counted
        on one side, the rest would look like growth. RECIST 1.1 does the same (Eisenhauer 2009, Eur J Cancer 45:228):
        the parts of a lesion are added, coalesced lesions are measured together.
        """
        present = sorted(track.id for track in self.tracks if any(track.lesions[start:]))
        place = {name: number for number, name in enumerate(present)}
        pairs = [
            (place[names[0]], place[name])
            for steps in self.steps[start:]
            for step in steps
            for names in [[*step.before, *step.after]]
            for name in names
        ]
        return tuple(tuple(present[k] for k in one) for one in _connected(pairs, len(present)))

    def at(self, group: Sequence[int], time_point: int) -> tuple[FollowedLesion, ...]:
        """The lesions of a group at one time point."""
        lesions = [track.lesions[time_point] for track in self.tracks if track.id in group]
        return tuple(lesion for lesion in lesions if lesion is not None)


def that_count(time_points: Sequence[LesionSet], least_mm3: float) -> list[tuple[FollowedLesion, ...]]:
    """Per time point the lesions of at least this volume, and smaller ones that belong to one of them.

    These are such of at least half of it that the next time point shows as a lesion with no other predecessor, which is
    not new, but has grown past the limit; and the largest that is left of a lesion of the time point before which
    would be gone otherwise: RANO wants all enhancement to disappear, measurable or not.
    """
    kept, likely = (
        [np.arange(len(here.lesions)) < len(counted(here.lesions, least)) for here in time_points]
        for least in (least_mm3, _LIKELY * least_mm3)
    )
    for place in reversed(range(len(time_points) - 1)):
        links = time_points[place].overlap(time_points[place + 1])[:, kept[place + 1]]
        kept[place] |= likely[place] & links[:, ~links[kept[place]].any(axis=0)].any(axis=1)
    for place, (before, here) in enumerate(itertools.pairwise(time_points), start=1):
        links = before.overlap(here)[kept[place - 1]]
        alone = links.any(axis=1) & ~links[:, kept[place]].any(axis=1)
        if alone.any():
            earlier, later = (one.only(_those(one, kept[k])) for one, k in ((before, place - 1), (here, place)))
            for left in links[alone & ~linked(earlier, later).any(axis=1)]:
                kept[place][left.argmax()] = True  # components are numbered by size
    return [_those(here, mine) for here, mine in zip(time_points, kept, strict=True)]


def _those(here: LesionSet, kept: NDArray[np.bool_]) -> tuple[FollowedLesion, ...]:
    return tuple(lesion for lesion, counts in zip(here.lesions, kept, strict=True) if counts)


def follow(time_points: Sequence[LesionSet], region: Region) -> LesionHistory:
    """Follow all lesions from the first time point to the last, also past those that do not show their position."""
    names = [list(range(1, len(time_points[0].lesions) + 1))]
    tracks: dict[int, list[FollowedLesion | None]] = {
        name: [lesion] for name, lesion in zip(names[0], time_points[0].lesions, strict=True)
    }
    steps: list[tuple[LesionChange, ...]] = []
    for number in range(1, len(time_points)):
        for lesions in tracks.values():
            lesions.append(None)
        identities, changes = _step(time_points[: number + 1], names, first_free=max(tracks, default=0) + 1)
        changes += _gone_unseen(time_points[: number + 1], names, steps, identities)
        for name, lesion in zip(identities, time_points[number].lesions, strict=True):
            tracks.setdefault(name, [None] * (number + 1))[number] = lesion
        names.append(identities)
        steps.append(tuple(changes))
    return LesionHistory(
        region=region,
        tracks=tuple(Track(id=name, lesions=tuple(lesions)) for name, lesions in sorted(tracks.items())),
        steps=tuple(steps),
    )


def linked(earlier: LesionSet, later: LesionSet) -> NDArray[np.bool_]:
    """``[earlier, later]``: which lesions are the same one.

    First, those whose voxels overlap. Then, where at least one of the two has no partner yet, those of which one lies
    inside the other or its holes (a rim that shrinks around its cavity), and those that line one cavity, at most as far
    apart as its wall has moved. Last, where neither has a partner, those of which one lies in the other's convex hull,
    or within 2 mm.
    """
    links = earlier.overlap(later)
    for rule in (encloses, line_one_cavity):
        unlinked = ~np.any(links, axis=1)[:, None] | ~np.any(links, axis=0)[None, :]
        for i, j in np.argwhere(unlinked):
            links[i, j] |= rule(earlier, i + 1, later, j + 1)
    alone, newcomers = np.flatnonzero(~np.any(links, axis=1)), np.flatnonzero(~np.any(links, axis=0))
    for i in map(int, alone):
        for j in match_unpaired(earlier, i + 1, later, [int(j) + 1 for j in newcomers]):
            links[i, j - 1] = True
    return links


def _step(
    time_points: Sequence[LesionSet], names: Sequence[Sequence[int]], first_free: int
) -> tuple[list[int], list[LesionChange]]:
    """The identities of the last lesions, and the changes; ``names`` are those of the earlier time points."""
    *_, earlier, later = time_points
    identities: dict[int, int] = {}
    changes = []
    for before, after in _pairs(linked(earlier, later)):
        seen = last_free = None
        if not before:
            seen, last_free = _seen_before(time_points, names, after[0])
        # Components are numbered by size, so that the first of each side is the largest one.
        name = names[-1][before[0]] if before else seen
        if after and name is not None and name not in identities.values():
            identities[after[0]] = name
        for j in after:
            if j not in identities:
                identities[j] = first_free
                first_free += 1
        before_ml = sum(earlier.lesions[i].volume_ml for i in before)
        after_ml = sum(later.lesions[j].volume_ml for j in after)
        covered = last_free is not None or (not after and later.covers(earlier, before[0] + 1))
        changes.append(
            LesionChange(
                change=_change(len(before), len(after), before_ml, after_ml, covered),
                before=tuple(names[-1][i] for i in before),
                after=tuple(identities[j] for j in after),
                before_ml=before_ml,
                after_ml=after_ml,
                last_free=last_free,
            )
        )
    return [identities[j] for j in range(len(later.lesions))], changes


def _gone_unseen(
    time_points: Sequence[LesionSet],
    names: Sequence[Sequence[int]],
    steps: Sequence[Sequence[LesionChange]],
    identities: Sequence[int],
) -> list[LesionChange]:
    """The lesions that the time points right before do not cover, and that the last one shows to be absent."""
    seen = {name: (time_points[place], i) for place, here in enumerate(names) for i, name in enumerate(here)}
    later, changes = time_points[-1], []
    for name in sorted(outside(steps) - set(identities)):
        older, i = seen[name]
        if later.covers(older, i + 1) and not linked(older, later)[i].any():
            before_ml = older.lesions[i].volume_ml
            changes.append(
                LesionChange(change=Change.GONE, before=(name,), after=(), before_ml=before_ml, after_ml=0.0)
            )
    return changes


def outside(steps: Iterable[Iterable[LesionChange]]) -> set[int]:
    """The lesions that by the last step which names them lie outside the image, as far as is known."""
    hidden: set[int] = set()
    for step in (step for one in steps for step in one):
        hidden -= {*step.before, *step.after}
        hidden |= set(step.before) if step.change is Change.NOT_COVERED else set()
    return hidden


def _seen_before(
    time_points: Sequence[LesionSet], names: Sequence[Sequence[int]], lesion: int
) -> tuple[int | None, int | None]:
    """For a lesion that the time point before does not have: its identity at the last one that shows its position; else
    that one's index, if the lesion was not there. Both are ``None`` where none shows it."""
    *older, earlier, later = time_points
    if earlier.covers(later, lesion + 1):
        return None, len(older)
    for place in reversed(range(len(older))):
        if older[place].covers(later, lesion + 1):
            there = np.flatnonzero(linked(older[place], later)[:, lesion])
            return (names[place][there[0]], None) if there.size else (None, place)
    return None, None


def _pairs(links: NDArray[np.bool_]) -> list[tuple[list[int], list[int]]]:
    """The groups of lesions that are linked, directly or through others: earlier and later ones, in order of size."""
    earlier, later = links.shape
    members = _connected([(int(i), earlier + int(j)) for i, j in np.argwhere(links)], earlier + later)
    return [([k for k in one if k < earlier], [k - earlier for k in one if k >= earlier]) for one in members]


def _connected(pairs: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """The connected groups of ``0 … count - 1``, each in order."""
    i, j = np.array(pairs, int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(i)), (i, j)), shape=(count, count))
    number, group = connected_components(graph, directed=False)
    return [np.flatnonzero(group == one).tolist() for one in range(number)]


def _change(before: int, after: int, before_ml: float, after_ml: float, covered: bool) -> Change:
    if not before or not after:
        return Change.NOT_COVERED if not covered else Change.GONE if before else Change.NEW
    if before > 1 or after > 1:
        return Change.SPLIT_AND_MERGED if before > 1 and after > 1 else Change.MERGED if before > 1 else Change.SPLIT
    if abs(after_ml - before_ml) <= UNCHANGED_WITHIN * before_ml:
        return Change.UNCHANGED
    return Change.GROWN if after_ml > before_ml else Change.SHRUNK
