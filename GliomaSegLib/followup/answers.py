"""The sentences of a comparison: what the last study shows, the response, the operation, and what is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from GliomaSegLib.followup.comparison import Question
from GliomaSegLib.followup.conditions import Conditions, name_of
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import LesionHistory
from GliomaSegLib.measures.rano import NOT_IN_IMAGES, Assessment
from GliomaSegLib.measures.resection import Finding, Resection
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.results.time_point import Exam


def answers(
    exams: Sequence[Exam],
    found: Conditions,
    resection: Resection | None,
    history: LesionHistory,
    responses: Sequence[Assessment],
) -> tuple[str, ...]:
    """All sentences, the most important first.

    Why nothing is judged stands before any number. An operation before the last study comes first, an earlier one last.
    """
    last = len(exams) - 1
    operation = _resection_sentences(resection, "" if found.operated == last else _in_study(found.operated, exams))
    now = [*_response_sentences(exams, found, responses), _lesion_sentence(history)]
    return tuple([*operation, *now] if found.operated == last else [*now, *operation])


def notes(
    exams: Sequence[Exam], least_mm3: float, specks: Sequence[int], conditions: Conditions, judged: bool
) -> tuple[str, ...]:
    """What must be known about the numbers, a sentence each."""
    counted = [f"{count} in study {place}" for place, count in enumerate(specks, start=1) if count]
    left_out = f": {', '.join(counted)}" if counted else "; there is none"
    sentences = [
        f"Components of less than {least_mm3:.0f} mm³, which not all of the studies could show or which are noise, are "
        f"not counted as lesions{left_out}. The volumes contain them."
    ]
    return (*sentences, *conditions.cautions, *([NOT_IN_IMAGES] if judged else []))


def _in_study(place: int | None, exams: Sequence[Exam]) -> str:
    return "" if place is None else f"{_capital(name_of(exams, place))}: "


def _response_sentences(exams: Sequence[Exam], found: Conditions, responses: Sequence[Assessment]) -> list[str]:
    if found.withheld or found.questions:
        why = [f"Response to treatment is not judged, because {'; and '.join(found.withheld)}."] * bool(found.withheld)
        asked = [_question_sentence(question) for question in found.questions]
        return why + asked
    if not responses or found.baseline is None:
        return []
    against = f"by imaging alone, against {name_of(exams, found.baseline)}, {found.reason}"
    names: dict[str, list[str]] = {}
    for one in responses:
        names.setdefault(one.category.value, []).append(one.criteria.name)
    if len(names) == 1:
        headline = f"{_capital(next(iter(names)))} {against}."
    else:
        by = (f"{category} by {' and '.join(criteria)}" for category, criteria in names.items())
        headline = f"{_capital(against)}: {'; '.join(by)}."
    return [headline, *(f"{one.brief}." for one in responses)]


def _question_sentence(question: Question) -> str:
    return f"Response to treatment is not judged: {question.text} (Answer with {question.option}.)"


def _resection_sentences(resection: Resection | None, of_study: str) -> list[str]:
    if resection is None:
        return []
    extents = (_extent_sentence(resection, place) for place in range(len(resection.extents)))
    return [f"{of_study}{sentence}" for sentence in (resection.answer, *extents)]


def _extent_sentence(resection: Resection, place: int) -> str:
    one = resection.extents[place]
    what = {Region.ET: "enhancing tumour", Region.TC: "tumour core"}[one.region]
    volumes = f"{volume_text(one.before_ml)} before, {volume_text(one.after_ml)} after"
    if resection.finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL):
        return f"Extent of resection of the {what}: {100 * one.fraction:.1f} % ({volumes})."
    return f"The {what} against before surgery: {-100 * one.fraction:+.1f} % ({volumes})."


def _lesion_sentence(history: LesionHistory) -> str:
    together = [step for step in history.steps[-1] if max(len(step.before), len(step.after)) > 1]
    counts = Counter(step.change.value for step in history.steps[-1] if step not in together)
    changes = ", ".join(
        [f"{len(step.before)} became {len(step.after)} ({step.change.value})" for step in together]
        + [f"{count} {change}" for change, count in counts.items()]
    )
    what = "enhancing" if history.region is Region.ET else "tumour"
    was, now = (sum(track.lesions[place] is not None for track in history.tracks) for place in (-2, -1))
    return (
        f"{now} {what} {'lesion' if now == 1 else 'lesions'} now, {was} in the study before"
        f"{f': {changes}' if changes else ''}."
    )


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
