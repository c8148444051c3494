"""Response to treatment by the imaging part of the RANO criteria, with every number that leads to the category.

RANO also asks for the clinical state, the dose of steroids and a confirmation after four weeks, none of which images
show: what is said here is which limit the measurements have crossed, not how the patient does.

The unit is the lesion with all parts that it splits into or merges with, counted alike on all time points. Diameters
are those of the solid part in the axial plane (:mod:`GliomaSegLib.measures.diameters`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
from GliomaSegLib.measures.lesion_size import FollowedLesion
from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory
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
        values: their sum at every time point from baseline, mm², mL or mm.
        from_baseline, from_smallest: relative change of the last value, against baseline and against the smallest
            before; ``None`` when that was 0.
        new: identities of the lesions that appeared since and count.
        grown: identities of lesions that are no targets and have clearly grown.
        flair_ml: T2/FLAIR abnormality outside the enhancing tumour at baseline, at its smallest and now; ``None`` when
            not known.
        because: what makes it progression, or why it cannot be said, a clause each.
        sentence: the category with its numbers.
        brief: the same, only with the numbers that decide.
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
    sentence: str
    brief: str


@dataclass(frozen=True)
class TimePoints:
    """What is known of the time points, beside the lesions.

    Attributes:
        slice_mm: distance between the axial slices at each.
        baseline: position of the time point with which treatment is compared.
        baseline_name: how a sentence calls it.
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
    values = tuple(
        sum(criteria.size(lesion) for group in targets for lesion in history.at(group, place))
        for place in range(time.baseline, len(time.slice_mm))
    )
    others = [group for group in started if group not in targets]
    judged = _Judged(
        history=history,
        time=time,
        criteria=criteria,
        targets=targets,
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
    """The lesions that appeared after the baseline, are there still and count."""
    appeared = {
        name
        for steps in history.steps[time.baseline :]
        for step in steps
        if step.change is Change.NEW
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
    if after < (1 + criteria.progression_rise) * before:
        return False
    if criteria.quantity is Quantity.VOLUME:
        return after - before >= NONTARGET_RISE_ML
    largest, was = (max(parts, key=criteria.size) for parts in (now, smallest))
    rises = [largest.long_mm - was.long_mm, largest.perpendicular_mm - was.perpendicular_mm]
    if criteria.quantity is Quantity.DIAMETER:
        rises = rises[:1]
    return min(rises) >= NONTARGET_RISE_MM and criteria.is_measurable(largest, time.slice_mm[-1])


@dataclass(frozen=True)
class _Judged:
    """All measurements, from which the category and its sentences follow."""

    history: LesionHistory
    time: TimePoints
    criteria: Criteria
    targets: Sequence[tuple[int, ...]]
    values: tuple[float, ...]
    new: tuple[int, ...]
    grown: tuple[int, ...]

    @property
    def smallest(self) -> float:
        return min(self.values[:-1])

    def assessment(self) -> Assessment:
        category, because = self._category()
        flair = self._flair()
        return Assessment(
            criteria=self.criteria,
            category=category,
            targets=tuple(name for group in self.targets for name in group),
            values=self.values,
            from_baseline=_relative(self.values[0], self.values[-1]),
            from_smallest=_relative(self.smallest, self.values[-1]),
            new=self.new,
            grown=self.grown,
            flair_ml=flair,
            because=tuple(because),
            sentence=self._sentence(category, because),
            brief=self._brief(category, because),
        )

    def _category(self) -> tuple[Category, list[str]]:
        obstacle = self._obstacle()
        causes = [*([] if obstacle else self._target_growth()), *self._other_growth()]
        if causes:
            return Category.PROGRESSION, causes
        if obstacle:
            return Category.NOT_COMPARABLE, [obstacle]
        if self.criteria.asks_for_flair and self._flair() is None:
            return Category.NOT_COMPARABLE, [
                f"the T2/FLAIR abnormality, which {self.criteria.name} wants to be stable, is not known at all time "
                "points"
            ]
        if not self.targets:
            return Category.NOT_MEASURABLE, ["no lesion was measurable at baseline"]
        if not any(track.lesions[-1] for track in self.history.tracks):
            return Category.COMPLETE, []
        fallen = self.values[-1] <= (1 - self.criteria.partial_fall) * self.values[0]
        return (Category.PARTIAL if fallen else Category.STABLE), []

    def _obstacle(self) -> str:
        """Why the targets' sizes at two time points cannot be compared."""
        if not self.targets:
            return ""
        names = {name for group in self.targets for name in group}
        unseen = {
            name
            for steps in self.history.steps[self.time.baseline :]
            for step in steps
            if step.change is Change.NOT_COVERED
            for name in step.before
        }
        if unseen & names:
            return f"{_lesions(sorted(unseen & names))} lies outside the image of a later study"
        if self.criteria.quantity is Quantity.VOLUME:
            return ""
        hollow = [
            track.id
            for track in self.history.tracks
            if track.id in names
            if any(lesion and lesion.is_solid is False for lesion in track.lesions[self.time.baseline :])
        ]
        if hollow:
            return (
                f"{_lesions(hollow)} is a rim around a cavity without a solid part of 10 mm, which has no diameters; "
                "compare the volume"
            )
        return self.time.obstacle

    def _target_growth(self) -> list[str]:
        last, limit = self.values[-1], self.criteria.progression_rise
        if not self.targets or last <= self.smallest or last < (1 + limit) * self.smallest:
            return []
        if self.criteria.least_rise_mm and not any(map(self._has_risen, self.targets)):
            return []
        change = _relative(self.smallest, last)
        return [
            f"{self.criteria.quantity.value} {percent_text(change, limit)} from the smallest "
            f"(limit {percent_text(limit)})"
        ]

    def _has_risen(self, group: tuple[int, ...]) -> bool:
        """Whether a target has grown by the least number of mm since its smallest."""
        places = range(self.time.baseline, len(self.time.slice_mm))
        *earlier, now = (sum(map(self.criteria.size, self.history.at(group, place))) for place in places)
        return now - min(earlier) >= self.criteria.least_rise_mm

    def _other_growth(self) -> list[str]:
        causes = []
        if self.new:
            sizes = sum(lesion.volume_ml for lesion in self.history.at(self.new, -1))
            causes.append(
                f"{len(self.new)} new {'lesion' if len(self.new) == 1 else 'lesions'} of {volume_text(sizes)}"
            )
        if self.grown:
            causes.append(f"{_lesions(self.grown)}, not among the targets, has clearly grown")
        if self.criteria.asks_for_flair and self._flair_has_grown():
            _, low, now = self._flair() or (0.0, 0.0, 0.0)
            change = _relative(low, now)
            rise = "" if change is None else f" {percent_text(change, FLAIR_RISE)}"
            causes.append(
                f"T2/FLAIR abnormality{rise} ({volume_text(low)} to {volume_text(now)}), if steroids were not reduced "
                "and nothing else explains it"
            )
        return causes

    def _flair(self) -> tuple[float, float, float] | None:
        volumes = list(self.time.flair_ml)[self.time.baseline :]
        if not volumes or None in volumes:
            return None
        return volumes[0], min(volumes[:-1]), volumes[-1]

    def _flair_has_grown(self) -> bool:
        _, low, now = self._flair() or (0.0, 0.0, 0.0)
        return now - low >= FLAIR_RISE_ML and now >= (1 + FLAIR_RISE) * low

    def _brief(self, category: Category, because: Sequence[str]) -> str:
        numbers = [] if category is Category.NOT_COMPARABLE or not self.targets else [self._changes()]
        others = [clause for clause in because if not clause.startswith(self.criteria.quantity.value)]
        if category not in (Category.PROGRESSION, Category.NOT_COMPARABLE):
            others.append("no new lesion")
        if category is Category.COMPLETE and self.time.specks:
            others.append(f"{self.time.specks} specks too small to count")
        if not self.criteria.asks_for_flair and self._flair_has_grown():
            _, low, now = self._flair() or (0.0, 0.0, 0.0)
            others.append(
                f"the T2/FLAIR abnormality, which these criteria do not judge, has grown from {volume_text(low)} to "
                f"{volume_text(now)}"
            )
        return f"{self.criteria.name}: {category.value} ({'; '.join([*numbers, *others])})"

    def _changes(self) -> str:
        criteria, (first, *_, last) = self.criteria, self.values
        from_first, from_low = (
            percent_text(_relative(value, last), -criteria.partial_fall, criteria.progression_rise)
            for value in (first, self.smallest)
        )
        more = "" if self.smallest == first else f", {from_low} from the smallest"
        return f"{criteria.quantity.value} {from_first} from baseline{more}"

    def _sentence(self, category: Category, because: Sequence[str]) -> str:
        criteria = self.criteria
        source = f"{criteria.name} ({criteria.citation}), against {self.time.baseline_name}"
        if not self.targets:
            numbers = (
                f"no lesion was measurable at baseline (diameters of {criteria.least_mm:g} x "
                f"{criteria.least_perpendicular_mm:g} mm or more, on slices thicker than {criteria.thick_slices_mm:g} "
                f"mm twice their distance, on {criteria.least_slices} slices or more)"
            )
        else:
            first, low, last = (
                amount_text(criteria, value) for value in (self.values[0], self.smallest, self.values[-1])
            )
            numbers = (
                f"{criteria.quantity.value} {first} at baseline, {low} at its smallest, {last} now, which is "
                f"{percent_text(_relative(self.values[0], self.values[-1]), -criteria.partial_fall)} from baseline "
                f"(limit of partial response {percent_text(-criteria.partial_fall)}) and "
                f"{percent_text(_relative(self.smallest, self.values[-1]), criteria.progression_rise)} from the "
                f"smallest (limit of progression {percent_text(criteria.progression_rise)})"
            )
        clauses = [numbers, *(clause for clause in because if not clause.startswith(criteria.quantity.value))]
        if not self.new:
            clauses.append("no new lesion")
        return f"{source}: {'; '.join(clauses)}: {category.value}."


def amount_text(criteria: Criteria, value: float) -> str:
    """A sum over the targets with its unit."""
    texts: dict[Quantity, Callable[[float], str]] = {
        Quantity.VOLUME: volume_text,
        Quantity.PRODUCT: lambda one: f"{one:.0f} mm²",
        Quantity.DIAMETER: lambda one: f"{one:.1f} mm",
    }
    return texts[criteria.quantity](value)


def percent_text(change: float | None, *limits: float) -> str:
    """A relative change in per cent, with as many digits as tell it from the limits that it is held against."""
    if change is None:
        return "not defined"
    digits = 0
    while digits < 3 and any(change != one and _rounded(change, digits) == _rounded(one, digits) for one in limits):
        digits += 1
    return f"{_rounded(change, digits)} %"


def _rounded(change: float, digits: int) -> str:
    text = f"{100 * change:+.{digits}f}"
    return text.replace("-", "−") if text.strip("+-0.") else text[1:]


def _relative(before: float, after: float) -> float | None:
    return (after - before) / before if before else None


def _lesions(names: Sequence[int]) -> str:
    return f"lesion {', '.join(map(str, names))}"
