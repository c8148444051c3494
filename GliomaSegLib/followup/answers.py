"""The sentences of a comparison: findings of the last study, response, resection, and what is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from GliomaSegLib.followup.conditions import Conditions, flair_ml, name_of
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.lesion_tracking import Change, LesionChange, LesionHistory
from GliomaSegLib.measures.midline import Side
from GliomaSegLib.measures.rano import NOT_IN_IMAGES, Assessment, Category
from GliomaSegLib.measures.rano_text import percent_text
from GliomaSegLib.measures.resection import Finding, Resection
from GliomaSegLib.measures.volumes import volume_text
from GliomaSegLib.results.time_point import SegmentedTimePoint

_LISTED_ONE_BY_ONE = 4
_VERBS = {Change.GROWN: "has grown", Change.SHRUNK: "has shrunk", Change.UNCHANGED: "is unchanged"}
# The order in which the headline names categories where the criteria differ.
_ORDER = (
    *(Category.PROGRESSION, Category.STABLE, Category.PARTIAL, Category.COMPLETE),
    *(Category.NOT_COMPARABLE, Category.NOT_MEASURABLE),
)


def answers(
    studies: Sequence[SegmentedTimePoint],
    found: Conditions,
    resection: Resection | None,
    history: LesionHistory,
    responses: Sequence[Assessment],
) -> tuple[str, ...]:
    """All sentences, the most important first.

    The reason why response is not judged comes before any number. An operation right before the last study comes first,
    an earlier one last.
    """
    operation = _resection_sentences(resection, studies, found.operated)
    headline, *details = _response_sentences(studies, found, responses) or [""]
    caution = found.soon_after_radiotherapy if _progressed(responses) else ""
    now = [headline, caution, _lesion_sentence(history), _flair_sentence(studies), *details]
    together = [*operation, *now] if found.operated == len(studies) - 1 else [*now, *operation]
    return tuple(filter(None, together))


def notes(
    least_mm3: float,
    specks: Sequence[int],
    conditions: Conditions,
    responses: Sequence[Assessment],
) -> tuple[str, ...]:
    """Sentences on how to read the numbers."""
    counted = [f"{count} in study {place}" for place, count in enumerate(specks, start=1) if count]
    left_out = f": {', '.join(counted)}" if counted else "; there is none"
    sentences = [
        f"Components of less than {least_mm3:.0f} mm³, which not all of the studies could show or which are noise, are "
        "not counted as lesions, unless they are what is left of one, or the next study shows one "
        f"there{left_out}. The volumes contain them."
    ]
    if responses and conditions.radiotherapy_unstated:
        sentences.append("After radiotherapy the baseline is the first study after its end (--radiotherapy-end).")
    if conditions.soon_after_radiotherapy and not _progressed(responses):  # else it follows the headline
        sentences.append(conditions.soon_after_radiotherapy)
    return (*sentences, *conditions.cautions, *([NOT_IN_IMAGES] if responses else []))


def _progressed(responses: Sequence[Assessment]) -> bool:
    return any(one.category is Category.PROGRESSION for one in responses)


def _response_sentences(
    studies: Sequence[SegmentedTimePoint], found: Conditions, responses: Sequence[Assessment]
) -> list[str]:
    if found.withheld:
        return [f"Response to treatment is not judged, because {'; and '.join(found.withheld)}."]
    if found.questions:
        asked = " ".join(one.text for one in found.questions)
        return [f"Response to treatment is not judged before it is known: {asked}"]
    if not responses or found.baseline is None:
        return []
    against = f"by imaging alone, against {name_of(studies, found.baseline)}, {found.reason}"
    names: dict[str, list[str]] = {}
    for one in sorted(responses, key=lambda one: _ORDER.index(one.category)):
        of_what = " of the T2/FLAIR abnormality alone" if one.of_flair_alone else ""
        names.setdefault(f"{one.category.value}{of_what}", []).append(
            one.criteria.name.replace(", volumetric", " by volume")
        )
    *others, last = (f"{category} ({' and '.join(criteria)})" for category, criteria in names.items())
    subject = f"{', '.join(others)} and {last}," if others else next(iter(names))
    return [f"{_capital(subject)} {against}.", *(f"{one.brief}." for one in responses)]


def _resection_sentences(
    resection: Resection | None, studies: Sequence[SegmentedTimePoint], operated: int | None
) -> list[str]:
    if resection is None or operated is None:
        return []
    of_study = "" if operated == len(studies) - 1 else f"{_capital(name_of(studies, operated))}: "
    judged = resection.finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL)
    extents = []
    for one in resection.extents:
        what = {Region.ET: "enhancing tumour", Region.TC: "tumour core"}[one.region]
        change = f"{one.percent:.1f} %" if judged else f"{0.0 - one.percent:+.1f} %".replace("-", "−")
        volumes = f"{volume_text(one.before_ml)} before, {volume_text(one.after_ml)} after"
        extents.append(f"{change} {'of' if judged else 'for'} the {what} ({volumes})")
    what = "Extent of resection" if judged else "Change of volume since before surgery"
    sentences = [f"{of_study}{resection.answer}"]
    if extents:
        sentences.append(f"{what}: {', '.join(extents)}.")
    if resection.rano:
        sentences.append(f"RANO resect class {resection.rano.number}: {resection.rano.name}.")
    return sentences


def _lesion_sentence(history: LesionHistory) -> str:
    """Number and volume of the lesions of the last study, and the changes since the study before."""
    last = len(history.steps)
    what = "enhancing " if history.region is Region.ET else "tumour "
    if len(history.steps[-1]) == 1 and (verb := _VERBS.get((step := history.steps[-1][0]).change)):
        return (
            f"{_capital(what)}lesion {step.after[0]} {verb}: from {volume_text(step.before_ml)} in study {last} to "
            f"{volume_text(step.after_ml)} now ({percent_text(step.fraction)})."
        )
    counts, volumes = [], []
    for place in (last - 1, last):
        lesions = [track.lesions[place] for track in history.tracks if track.lesions[place]]
        counts.append(len(lesions))
        volumes.append(volume_text(sum(lesion.volume_ml for lesion in lesions if lesion)))
    now = (
        f"{counts[1]} {what}{'lesion' if counts[1] == 1 else 'lesions'} of {volumes[1]}"
        if counts[1]
        else f"No {what}lesion"
    )
    before = f"{counts[0]} of {volumes[0]}" if counts[0] else "none"
    changes = "; ".join(_changes(history))
    return f"{now} now, {before} in study {last}{f': {changes}' if changes else ''}."


def _flair_sentence(studies: Sequence[SegmentedTimePoint]) -> str:
    """Volume of the T2/FLAIR abnormality; empty unless it is known in both of the last two studies."""
    before, now = (flair_ml(study) for study in studies[-2:])
    if before is None or now is None:
        return ""
    change = f" ({percent_text((now - before) / before)})" if before else ""
    return (
        f"T2/FLAIR abnormality outside the enhancing tumour: {volume_text(now)} now, {volume_text(before)} in study "
        f"{len(studies) - 1}{change}."
    )


def _changes(history: LesionHistory) -> list[str]:
    """The changes since the study before: of each lesion if there are few, else the number of each kind of change."""
    steps = history.steps[-1]
    if len(steps) > _LISTED_ONE_BY_ONE:
        return [f"{count} {change}" for change, count in Counter(step.change.value for step in steps).items()]
    return [_change(history, step) for step in steps]


def _change(history: LesionHistory, step: LesionChange) -> str:
    if step.change is Change.NEW:
        (lesion,) = history.at(step.after, len(history.steps))
        where = "in the midline" if lesion.side is Side.MIDLINE else f"on the {lesion.side.value}"
        return f"lesion {step.after[0]} new, {volume_text(step.after_ml)} {where}"
    if not step.after or not step.before:
        names = step.before or step.after
        seen = max(place for place, _ in enumerate(history.steps) if history.at(names, place)) if step.before else 0
        since = f" since study {seen + 1}" if step.change is Change.GONE and seen < len(history.steps) - 1 else ""
        return f"lesion {', '.join(map(str, names))} {step.change.value}{since}"
    percent = percent_text(step.fraction)
    volumes = f"{volume_text(step.before_ml)} to {volume_text(step.after_ml)}, {percent}"
    if len(step.before) == len(step.after) == 1:
        return f"lesion {step.after[0]} {step.change.value} ({volumes})"
    before, after = (", ".join(map(str, names)) for names in (step.before, step.after))
    return f"lesions {before} {step.change.value} into {after} ({volumes})"


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"
