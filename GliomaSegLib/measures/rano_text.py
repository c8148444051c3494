"""The sentences of an assessment by RANO: the decisive numbers beside the limits that they are compared with."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from GliomaSegLib.measures.criteria import Criteria, Quantity
from GliomaSegLib.measures.lesion_size import ROUNDING
from GliomaSegLib.measures.volumes import volume_text


@dataclass(frozen=True)
class Numbers:
    """What a sentence states of an assessment.

    Attributes:
        values: sums over the targets from baseline on; none when they cannot be compared.
        clauses: causes of progression other than the sum over the targets, or why nothing can be concluded.
        new: number of new lesions.
        specks: number of remaining components that are too small to count.
        unjudged_flair: whether the T2/FLAIR abnormality has grown, which the criteria do not judge.
        left_out: number of studies in between that do not show all targets.
    """

    criteria: Criteria
    baseline_name: str
    values: tuple[float, ...]
    clauses: tuple[str, ...]
    new: int
    specks: int
    unjudged_flair: bool
    left_out: int = 0

    def reason(self) -> str:
        """The decisive numbers, other causes than the sum first, without the names of criteria and category."""
        return "; ".join([*self.clauses, *([self._changes()] if self.values else []), *self._others()])

    def sentence(self, category: str) -> str:
        """All numbers with the limits and the publication, then the category."""
        clauses = [*([self._all_changes()] if self.values else []), *self.clauses, *self._others()]
        source = f"{self.criteria.name} ({self.criteria.citation}), against {self.baseline_name}"
        return f"{source}: {'; '.join(clauses)}: {category}."

    def _others(self) -> list[str]:
        what = "no new measurable lesion" if self.criteria.new_measurable else "no new lesion"
        clauses = [] if self.new else [what]
        if self.specks:
            clauses.append(f"{self.specks} {'speck' if self.specks == 1 else 'specks'} too small to count")
        if self.unjudged_flair:
            clauses.append("the growth of the T2/FLAIR abnormality is not judged by these criteria")
        if self.left_out and self.values:
            which = "1 study" if self.left_out == 1 else f"{self.left_out} studies"
            clauses.append(f"{which} in between without some of the targets left out")
        return clauses

    def _changes(self) -> str:
        """The changes of the sum, and the limit that it is nearest to."""
        criteria, first, smallest, last = self.criteria, self.values[0], min(self.values[:-1]), self.values[-1]
        limits = -criteria.partial_fall, criteria.progression_rise
        from_first, from_smallest = (percent_text(relative(value, last), *limits) for value in (first, smallest))
        falls = last < smallest or (last == smallest < first)
        limit = f"limit of {'partial response' if falls else 'progression'} {percent_text(limits[not falls])}"
        more = "" if smallest == first else f" and {from_smallest} from the smallest"
        what = "none of the targets is left" if last == 0 else limit
        return f"{criteria.quantity.value} {from_first} from baseline{more}, {what}"

    def _all_changes(self) -> str:
        criteria, first, smallest, last = self.criteria, self.values[0], min(self.values[:-1]), self.values[-1]
        amounts = [amount_text(criteria, value) for value in (first, smallest, last)]
        fall, rise = -criteria.partial_fall, criteria.progression_rise
        return (
            f"{criteria.quantity.value} {amounts[0]} at baseline, {amounts[1]} at its smallest, {amounts[2]} now, "
            f"which is {percent_text(relative(first, last), fall)} from baseline (limit of partial response "
            f"{percent_text(fall)}) and {percent_text(relative(smallest, last), rise)} from the smallest (limit of "
            f"progression {percent_text(rise)})"
        )


def amount_text(criteria: Criteria, value: float) -> str:
    """A sum over the targets with its unit."""
    texts: dict[Quantity, Callable[[float], str]] = {
        Quantity.VOLUME: volume_text,
        Quantity.PRODUCT: lambda one: f"{one:.0f} mm²",
        Quantity.DIAMETER: lambda one: f"{one:.1f} mm",
    }
    return texts[criteria.quantity](value)


def percent_text(change: float | None, *limits: float) -> str:
    """A relative change in per cent, with enough digits to distinguish it from the limits that it is compared with."""
    if change is None:
        return "not defined"
    digits = 0
    while digits < 3 and any(
        _rounded(change, digits) == _rounded(one, digits) and not math.isclose(change, one, rel_tol=ROUNDING)
        for one in limits
    ):
        digits += 1
    return f"{_rounded(change, digits)} %"


def _rounded(change: float, digits: int) -> str:
    text = f"{100 * change:+.{digits}f}"
    return text.replace("-", "−") if text.strip("+-0.") else text[1:]


def relative(before: float, after: float) -> float | None:
    """The relative change; ``None`` when there was nothing before."""
    return (after - before) / before if before else None


def lesions_text(names: Sequence[int]) -> str:
    """The lesions with these numbers."""
    *first, last = map(str, names)
    return f"lesions {', '.join(first)} and {last}" if first else f"lesion {last}"
