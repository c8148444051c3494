"""Response to treatment by the imaging part of the RANO criteria, with every number that leads to the category.

RANO also asks for the clinical state, the dose of steroids and a confirmation after four weeks, none of which images
show: the category states which limit the measurements have crossed, not how the patient is.

The unit is the lesion with all parts that it splits into or merges with, counted alike on all time points. Diameters
are those of the solid part in the axial plane (:mod:`GliomaSegLib.measures.diameters`).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from enum import Enum

from GliomaSegLib.measures.criteria import (
    FLAIR_RISE,
    FLAIR_RISE_ML,
    NONTARGET_RISE_ML,
    NONTARGET_RISE_MM,
    Criteria,
    Quantity,
)
from GliomaSegLib.measures.lesion_size import FollowedLesion, reaches
from GliomaSegLib.measures.lesion_tracking import UNCHANGED_WITHIN, Change, LesionHistory, outside
from GliomaSegLib.measures.rano_text import Numbers, lesions_text, percent_text, relative
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.record import Record

NOT_IN_IMAGES = (
    "By imaging alone: clinical state, steroids and confirmation after four weeks belong to RANO and are not known "
    "here; in the first twelve weeks after radiotherapy growth may be treatment effect."
)


class Category(str, Enum):
    """Which limit the measurements have crossed."""

    COMPLETE = "complete response"
    PARTIAL = "partial response"
    STABLE = "stable disease"
    PROGRESSION = "progression"
    NOT_MEASURABLE = "not measurable"
    NOT_COMPARABLE = "not comparable"


class Assessment(Record):
    """The last time point by one set of criteria.

    Attributes:
        targets: identities of the lesions followed, with all their parts.
        values: their sum at every time point from baseline that shows all of them, and at the last; mm², mL or mm.
        from_baseline, from_smallest: relative change of the last value, against baseline and against the smallest
            before; ``None`` when that was 0.
        new: identities of the lesions that appeared since and count.
        grown: identities of lesions that are no targets and have clearly grown.
        flair_ml: T2/FLAIR abnormality outside the enhancing tumour at baseline, at its smallest and now; ``None`` when
            not known.
        because: what makes it progression, or why it cannot be said, a clause each.
        of_flair_alone: it is progression for the T2/FLAIR abnormality and nothing else.
        reason: the numbers that decide, or why nothing can be said; empty in comparisons of earlier versions.
        sentence: the category with its numbers.
        brief: the name of the criteria and the reason, without the category.
    """

    criteria: Criteria
    category: Category
    targets: tuple[int, ...]
    values: tuple[float, ...]
    from_baseline: float | None
    from_smallest: float | None
    new: tuple[int, ...]
    grown: tuple[int, ...] = ()
    flair_ml: tuple[float, float, float] | None = None
    because: tuple[str, ...] = ()
    of_flair_alone: bool = False
    reason: str = ""
    sentence: str
    brief: str


@dataclass(frozen=True)
class TimePoints:
    """Data of the time points other than their lesions.

    Attributes:
        slice_mm: distance between the axial slices at each.
        baseline: position of the time point with which treatment is compared.
        baseline_name: its name in sentences.
        flair_ml: T2/FLAIR abnormality outside the enhancing tumour at each; ``None`` where it is not known.
        obstacle: why diameters of two time points cannot be compared, a clause; empty when they can.
        specks: components at the last time point that are too small to count as lesions.
    """

    slice_mm: Sequence[float]
    baseline: int = 0
    baseline_name: str = "baseline"
    flair_ml: Sequence[float | None] = field(default=())
    obstacle: str = ""
    specks: int = 0


def assess_response(history: LesionHistory, time: TimePoints, criteria: Criteria) -> Assessment:
    """Judge the last time point against the baseline and all that lie between.

    Args:
        history: lesions of the enhancing tumour over all time points.

    Raises:
        ValueError: there is no time point after the baseline.
    """
    if not 0 <= time.baseline < len(time.slice_mm) - 1:
        raise ValueError(f"{len(time.slice_mm)} time points leave none after the baseline {time.baseline}")
    groups = history.groups(time.baseline)
    started = [group for group in groups if history.at(group, time.baseline)]
    targets = _targets(history, time, criteria, started)
    names = {name for group in targets for name in group}
    places = [
        place
        for place in range(time.baseline, len(time.slice_mm))
        if not names & outside(history.steps[time.baseline : place])
    ]
    if places[-1] < len(time.slice_mm) - 1:  # why nothing can be said
        places.append(len(time.slice_mm) - 1)
    values = tuple(
        sum(criteria.size(lesion) for group in targets for lesion in history.at(group, place)) for place in places
    )
    others = [group for group in started if group not in targets]
    judged = _Judged(
        history=history,
        time=time,
        criteria=criteria,
        targets=targets,
        places=places,
        values=values,
        new=_new(history, time, criteria, [group for group in groups if group not in started]),
        grown=tuple(name for group in others if _has_grown(history, time, criteria, group) for name in group),
    )
    return judged.assessment()


def _targets(
    history: LesionHistory, time: TimePoints, criteria: Criteria, groups: Sequence[tuple[int, ...]]
) -> list[tuple[int, ...]]:
    """The largest of the measurable lesions at baseline."""

    def at_baseline(group: tuple[int, ...]) -> tuple[FollowedLesion, ...]:
        return history.at(group, time.baseline)

    slice_mm = time.slice_mm[time.baseline]
    measurable = [one for one in groups if any(criteria.is_measurable(part, slice_mm) for part in at_baseline(one))]
    return sorted(measurable, key=lambda one: -sum(map(criteria.size, at_baseline(one))))[: criteria.targets]


def _new(
    history: LesionHistory, time: TimePoints, criteria: Criteria, groups: Sequence[tuple[int, ...]]
) -> tuple[int, ...]:
    """The lesions that appeared after the baseline, still exist and count."""
    appeared = {
        name
        for steps in history.steps[time.baseline :]
        for step in steps
        if step.change is Change.NEW and (step.last_free is None or step.last_free >= time.baseline)
        for name in step.after
    }
    last = len(time.slice_mm) - 1
    return tuple(
        name
        for group in groups
        if appeared.intersection(group)
        for name in group
        for lesion in history.at((name,), last)
        if not criteria.new_measurable or criteria.is_measurable(lesion, time.slice_mm[-1])
    )


def _has_grown(history: LesionHistory, time: TimePoints, criteria: Criteria, group: tuple[int, ...]) -> bool:
    """Whether a lesion that is no target has clearly grown since its smallest."""
    places = range(time.baseline, len(time.slice_mm))
    *earlier, now = (history.at(group, place) for place in places)
    smallest = min((parts for parts in earlier if parts), key=lambda parts: sum(map(criteria.size, parts)), default=())
    if not smallest or not now:
        return False
    before, after = (sum(map(criteria.size, parts)) for parts in (smallest, now))
    if not reaches(after, (1 + criteria.progression_rise) * before):
        return False
    if criteria.quantity is Quantity.VOLUME:
        return reaches(after - before, NONTARGET_RISE_ML)
    largest, was = (max(parts, key=criteria.size) for parts in (now, smallest))
    rises = [largest.long_mm - was.long_mm, largest.perpendicular_mm - was.perpendicular_mm]
    if criteria.quantity is Quantity.DIAMETER:
        rises = rises[:1]
    return reaches(min(rises), NONTARGET_RISE_MM) and criteria.is_measurable(largest, time.slice_mm[-1])


@dataclass(frozen=True)
class _Judged:
    """The measurements from which the category and its sentences follow."""

    history: LesionHistory
    time: TimePoints
    criteria: Criteria
    targets: Sequence[tuple[int, ...]]
    places: Sequence[int]
    values: tuple[float, ...]
    new: tuple[int, ...]
    grown: tuple[int, ...]

    @property
    def smallest(self) -> float:
        return min(self.values[:-1])

    def assessment(self) -> Assessment:
        category, because, comparable = self._category()
        growth, flair = self._target_growth(), self._flair_growth()
        numbers = Numbers(
            criteria=self.criteria,
            baseline_name=self.time.baseline_name,
            values=self.values if self.targets and comparable else (),
            clauses=tuple(one for one in because if one not in growth),
            new=len(self.new),
            specks=self.time.specks if category is Category.COMPLETE else 0,
            unjudged_flair=not self.criteria.asks_for_flair and self._flair_has_grown(),
            left_out=len(self.time.slice_mm) - self.time.baseline - len(self.places),
        )
        return Assessment(
            criteria=self.criteria,
            category=category,
            targets=tuple(name for group in self.targets for name in group),
            values=self.values,
            from_baseline=relative(self.values[0], self.values[-1]),
            from_smallest=relative(self.smallest, self.values[-1]),
            new=self.new,
            grown=self.grown,
            flair_ml=self._flair(),
            because=tuple(because),
            of_flair_alone=category is Category.PROGRESSION and because == flair,
            reason=numbers.reason(),
            sentence=numbers.sentence(category.value),
            brief=f"{self.criteria.name}: {numbers.reason()}",
        )

    def _category(self) -> tuple[Category, list[str], bool]:
        """The category, what leads to it, and whether the targets' sizes can be compared."""
        growth = self._target_growth()
        obstacle = self._obstacle() or self._contradiction(bool(growth))
        causes = [*([] if obstacle else growth), *self._other_growth()]
        if causes:
            return Category.PROGRESSION, causes, not obstacle
        if obstacle:
            return Category.NOT_COMPARABLE, [obstacle], False
        if self.criteria.asks_for_flair and self._flair() is None:
            why = f"the T2/FLAIR abnormality, which {self.criteria.name} wants to be stable, is not known throughout"
            return Category.NOT_COMPARABLE, [why], True
        if not self.targets:
            return Category.NOT_MEASURABLE, [self._why_not_measurable()], True
        if not any(track.lesions[-1] for track in self.history.tracks):
            hidden = self._not_covered()
            return (Category.PARTIAL, [hidden], True) if hidden else (Category.COMPLETE, [], True)
        return (Category.PARTIAL if self._has_fallen() else Category.STABLE), [], True

    def _has_fallen(self) -> bool:
        """Whether the sum over the targets has reached the limit of a partial response."""
        return reaches((1 - self.criteria.partial_fall) * self.values[0], self.values[-1])

    def _obstacle(self) -> str:
        """Why the targets' sizes at two time points cannot be compared."""
        if not self.targets:
            return ""
        names = {name for group in self.targets for name in group}
        if hidden := self._not_covered(names):
            return hidden
        tracks = [track for track in self.history.tracks if track.id in names]
        sizes = {track.id: list(filter(None, track.lesions[self.time.baseline :])) for track in tracks}
        cut = [name for name, lesions in sizes.items() if any(lesion.at_border for lesion in lesions)]
        if cut:
            return f"{lesions_text(cut)}: cut by the border of an image"
        if self.criteria.quantity is Quantity.VOLUME:
            return ""
        hollow = [name for name, lesions in sizes.items() if any(lesion.is_solid is False for lesion in lesions)]
        if hollow:
            return (
                f"{lesions_text(hollow)}: a rim around a cavity without a solid part of 10 mm has no diameters; "
                "compare the volume"
            )
        return self.time.obstacle

    def _not_covered(self, names: Collection[int] | None = None) -> str:
        """Which lesions, of all or of these, lie outside the image of a study and are not seen again; or empty."""
        unseen = outside(self.history.steps[self.time.baseline :])
        unseen = {name for name in unseen if names is None or name in names}
        return f"{lesions_text(sorted(unseen))}: outside the image of a later study" if unseen else ""

    def _contradiction(self, grown: bool) -> str:
        """Why a change of diameters is not accepted: the volume of the targets has not changed likewise."""
        fallen = bool(self.targets) and self._has_fallen()
        if self.criteria.quantity is Quantity.VOLUME or not (grown or fallen):
            return ""
        place = self.values.index(self.smallest) if grown else 0
        before, now = (
            sum(lesion.volume_ml for group in self.targets for lesion in self.history.at(group, one))
            for one in (self.places[place], self.places[-1])
        )
        if now > (1 + UNCHANGED_WITHIN) * before if grown else now < (1 - UNCHANGED_WITHIN) * before:
            return ""
        change = percent_text(relative(self.values[place], self.values[-1]))
        return (
            f"the diameters of the targets ({change}) and their volume ({percent_text(relative(before, now))}) "
            "contradict one another"
        )

    def _why_not_measurable(self) -> str:
        at_baseline = [track.lesions[self.time.baseline] for track in self.history.tracks]
        lesions = [lesion for lesion in at_baseline if lesion]
        if not lesions:
            return "there was no lesion at baseline"
        if self.criteria.quantity is not Quantity.VOLUME and all(one.is_solid is False for one in lesions):
            return "what enhanced at baseline is a rim around a cavity without a solid part of 10 mm"
        return "no lesion was measurable at baseline"

    def _target_growth(self) -> list[str]:
        last, limit = self.values[-1], self.criteria.progression_rise
        if not self.targets or last <= self.smallest or not reaches(last, (1 + limit) * self.smallest):
            return []
        if self.criteria.least_rise_mm and not any(map(self._has_risen, self.targets)):
            return []
        low, now = self.places[self.values.index(self.smallest)], self.places[-1]
        if not any(map(self._is_measurable, (low, now))):  # the limit is one of measurable lesions
            return []
        change = relative(self.smallest, last)
        return [f"{self.criteria.quantity.value} {percent_text(change, limit)} from the smallest"]

    def _is_measurable(self, place: int) -> bool:
        """Whether a part of a target is measurable at a time point."""
        parts = (part for group in self.targets for part in self.history.at(group, place))
        return any(self.criteria.is_measurable(part, self.time.slice_mm[place]) for part in parts)

    def _has_risen(self, group: tuple[int, ...]) -> bool:
        """Whether a target has grown by the least number of mm since its smallest."""
        *earlier, now = (sum(map(self.criteria.size, self.history.at(group, place))) for place in self.places)
        return reaches(now - min(earlier), self.criteria.least_rise_mm)

    def _other_growth(self) -> list[str]:
        causes = []
        if self.new:
            sizes = sum(lesion.volume_ml for lesion in self.history.at(self.new, -1))
            causes.append(
                f"{len(self.new)} new {'lesion' if len(self.new) == 1 else 'lesions'} of {volume_text(sizes)}"
            )
        if self.grown:
            causes.append(f"{lesions_text(self.grown)}, not among the targets: clear growth")
        return [*causes, *self._flair_growth()]

    def _flair_growth(self) -> list[str]:
        if not (self.criteria.asks_for_flair and self._flair_has_grown()):
            return []
        _, low, now = self._flair() or (0.0, 0.0, 0.0)
        change = relative(low, now)
        rise = "" if change is None else f" {percent_text(change, FLAIR_RISE)}"
        return [
            f"T2/FLAIR abnormality{rise} ({volume_text(low)} to {volume_text(now)}), if steroids were not reduced and "
            "nothing else explains it"
        ]

    def _flair(self) -> tuple[float, float, float] | None:
        volumes = list(self.time.flair_ml)[self.time.baseline :]
        known = [volume for volume in volumes if volume is not None]
        if not known or len(known) < len(volumes):
            return None
        return known[0], min(known[:-1]), known[-1]

    def _flair_has_grown(self) -> bool:
        _, low, now = self._flair() or (0.0, 0.0, 0.0)
        return reaches(now - low, FLAIR_RISE_ML) and reaches(now, (1 + FLAIR_RISE) * low)
