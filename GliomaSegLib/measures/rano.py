"""Response to treatment by the imaging part of the RANO criteria, with every number that leads to the word.

RANO also asks for the clinical state, the dose of steroids and a confirmation after four weeks, none of which images
show: what is said here is which limit the measurements have crossed, not how the patient does.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory
from GliomaSegLib.measures.volumes import Lesion, volume_text
from GliomaSegLib.record import Record


class Quantity(str, Enum):
    """What is summed over the target lesions."""

    PRODUCT = "product of perpendicular diameters"
    VOLUME = "volume"


class Criteria(Record):
    """The limits of one set of criteria.

    Attributes:
        partial_fall: at least this share less than at baseline is a partial response.
        progression_rise: at least this share more than the smallest value since baseline is progression.
        least_mm: both diameters of a measurable lesion reach this; on slices thicker than ``thick_slices_mm`` also
            twice the slice thickness.
        least_slices: a measurable lesion is seen on so many.
        targets: at most so many lesions are followed, the largest.
        new_measurable: whether a new lesion must be measurable to count as progression.
    """

    name: str
    citation: str
    quantity: Quantity
    partial_fall: float
    progression_rise: float
    targets: int
    new_measurable: bool
    least_mm: float = 10.0
    thick_slices_mm: float = 5.0
    least_slices: int = 2

    def is_measurable(self, lesion: Lesion, slice_mm: float) -> bool:
        """Whether a lesion may be followed; ``slice_mm`` is the distance between slices."""
        least = max(self.least_mm, 2 * slice_mm) if slice_mm > self.thick_slices_mm else self.least_mm
        return min(lesion.long_mm, lesion.perpendicular_mm) >= least and (lesion.slices or 0) >= self.least_slices

    def size(self, lesion: Lesion) -> float:
        """The lesion's part of the sum: mm² or mL."""
        return lesion.volume_ml if self.quantity is Quantity.VOLUME else lesion.long_mm * lesion.perpendicular_mm


RANO_2010 = Criteria(
    name="RANO 2010",
    citation="Wen et al., J Clin Oncol 2010;28:1963",
    quantity=Quantity.PRODUCT,
    partial_fall=0.5,
    progression_rise=0.25,
    targets=5,
    new_measurable=False,
)
# The volumetric limits are those of the spheres whose products of diameters change by -50 % and +25 %: 0.5^1.5 = 0.35,
# 1.25^1.5 = 1.40. They stand in the modified criteria of 2017 (Ellingson, Neurotherapeutics 14:307) and in RANO 2.0.
_WEN_2023 = "Wen et al., J Clin Oncol 2023;41:5187"
RANO_2_0 = Criteria(
    name="RANO 2.0",
    citation=_WEN_2023,
    quantity=Quantity.PRODUCT,
    partial_fall=0.5,
    progression_rise=0.25,
    targets=2,
    new_measurable=True,
)
RANO_2_0_VOLUME = Criteria(
    name="RANO 2.0, volumetric",
    citation=_WEN_2023,
    quantity=Quantity.VOLUME,
    partial_fall=0.65,
    progression_rise=0.40,
    targets=2,
    new_measurable=True,
)
ALL_CRITERIA = (RANO_2010, RANO_2_0, RANO_2_0_VOLUME)

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


class Assessment(Record):
    """The last time point by one set of criteria.

    Attributes:
        targets: identities of the lesions followed.
        values: their sum at every time point from baseline, mm² or mL.
        from_baseline, from_smallest: relative change of the last value, against baseline and against the smallest
            before; ``None`` when that was 0.
        new: identities of the lesions that appeared since and count.
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
    sentence: str
    brief: str


def assess_response(
    course: LesionHistory, slice_mm: Sequence[float], criteria: Criteria, baseline: int = 0
) -> Assessment:
    """Judge the last time point against ``baseline`` and all that lie between.

    Args:
        course: lesions of the enhancing tumour over all time points.
        slice_mm: distance between the slices at each.
        baseline: position of the time point with which treatment is compared.

    Raises:
        ValueError: there is no time point after ``baseline``.
    """
    if not 0 <= baseline < len(slice_mm) - 1:
        raise ValueError(f"{len(slice_mm)} time points leave none after the baseline {baseline}")
    start = {track.id: track.lesions[baseline] for track in course.tracks if track.lesions[baseline]}
    measurable = [name for name, lesion in start.items() if criteria.is_measurable(lesion, slice_mm[baseline])]
    targets = sorted(measurable, key=lambda name: -criteria.size(start[name]))[: criteria.targets]
    values = _values(course, frozenset(targets), criteria, baseline)
    new = _new(course, slice_mm, criteria, baseline)
    left = any(track.lesions[-1] for track in course.tracks)
    smallest = min(values[:-1])
    found = Assessment(
        criteria=criteria,
        category=_category(criteria, values, smallest, new, bool(targets), left),
        targets=tuple(targets),
        values=values,
        from_baseline=_change(values[0], values[-1]),
        from_smallest=_change(smallest, values[-1]),
        new=new,
        sentence="",
        brief="",
    )
    return found.model_copy(update={"sentence": _sentence(found, smallest), "brief": _brief(found)})


def _values(course: LesionHistory, targets: frozenset[int], criteria: Criteria, baseline: int) -> tuple[float, ...]:
    """The sum at each time point; what a target has split into or merged with counts as a target."""
    by_name = {track.id: track for track in course.tracks}
    values = []
    for position in range(baseline, len(course.steps) + 1):
        if position > baseline:
            reached = (step.after for step in course.steps[position - 1] if targets.intersection(step.before))
            targets = frozenset(name for after in reached for name in after)
        lesions = [by_name[name].lesions[position] for name in targets]
        values.append(sum(criteria.size(lesion) for lesion in lesions if lesion))
    return tuple(values)


def _new(course: LesionHistory, slice_mm: Sequence[float], criteria: Criteria, baseline: int) -> tuple[int, ...]:
    """The lesions that appeared after the baseline, are there still and count."""
    now = {track.id: track.lesions[-1] for track in course.tracks if track.lesions[-1]}
    appeared = [
        name for steps in course.steps[baseline:] for step in steps if step.change is Change.NEW for name in step.after
    ]
    return tuple(
        name
        for name in appeared
        if name in now and (not criteria.new_measurable or criteria.is_measurable(now[name], slice_mm[-1]))
    )


def _category(
    criteria: Criteria, values: Sequence[float], smallest: float, new: Sequence[int], measurable: bool, left: bool
) -> Category:
    first, last = values[0], values[-1]
    if new or (measurable and last > smallest and last >= (1 + criteria.progression_rise) * smallest):
        return Category.PROGRESSION
    if not measurable:
        return Category.NOT_MEASURABLE
    if not left:
        return Category.COMPLETE
    return Category.PARTIAL if last <= (1 - criteria.partial_fall) * first else Category.STABLE


def _change(before: float, after: float) -> float | None:
    return (after - before) / before if before else None


def _new_text(found: Assessment) -> str:
    return f"{len(found.new)} new {'lesion' if len(found.new) == 1 else 'lesions'}" if found.new else "no new lesion"


def _brief(found: Assessment) -> str:
    numbers = (
        f"{found.criteria.quantity.value} {_percent(found.from_baseline)} from baseline, "
        f"{_percent(found.from_smallest)} from the smallest, "
        if found.targets
        else ""
    )
    return f"{found.criteria.name} {found.category.value} ({numbers}{_new_text(found)})"


def _sentence(found: Assessment, smallest: float) -> str:
    criteria = found.criteria
    source = f"{criteria.name} ({criteria.citation})"
    new = _new_text(found)
    if not found.targets:
        what = f"no lesion was measurable at baseline (both diameters {criteria.least_mm:g} mm or more, on slices"
        return (
            f"{source}: {what} thicker than {criteria.thick_slices_mm:g} mm twice their distance, on "
            f"{criteria.least_slices} slices or more), {new}: {found.category.value}."
        )
    first, low, last = (amount_text(criteria, value) for value in (found.values[0], smallest, found.values[-1]))
    return (
        f"{source}: {criteria.quantity.value} {first} at baseline, {low} at its smallest, {last} now, which is "
        f"{_percent(found.from_baseline)} from baseline (limit of partial response "
        f"{_percent(-criteria.partial_fall)}) and {_percent(found.from_smallest)} from the smallest (limit of "
        f"progression {_percent(criteria.progression_rise)}), {new}: {found.category.value}."
    )


def amount_text(criteria: Criteria, value: float) -> str:
    """A sum over the targets with its unit."""
    return volume_text(value) if criteria.quantity is Quantity.VOLUME else f"{value:.0f} mm²"


def _percent(change: float | None) -> str:
    return "not defined" if change is None else f"{100 * change:+.0f} %".replace("-", "−")
