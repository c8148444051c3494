"""Whether response to treatment can be judged: the baseline, reasons against it, and open questions.

Response is judged against the first study after radiotherapy, or the one after surgery where there was none (RANO 2.0,
Wen 2023, J Clin Oncol 41:5187; Ellingson 2017, Neurotherapeutics 14:307). A batch or a node has no user to ask: unknown
facts are listed as questions with the options that answer them, and no category is given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import cast

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.comparison import Question
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.assessment import unfit_contours
from GliomaSegLib.measures.resection import EARLY_DAYS
from GliomaSegLib.options import ReviewState, Surgery, Tumour
from GliomaSegLib.results.time_point import SegmentedTimePoint, twice

# After this time growth is no longer expected to be an effect of radiotherapy (RANO 2010; RANO 2.0).
PSEUDOPROGRESSION_DAYS = 84

# Dates of surgery, computed from study dates and days since surgery, that differ by less are one operation.
_SAME_OPERATION = timedelta(days=3)


@dataclass(frozen=True)
class Radiotherapy:
    """The end of radiotherapy: a date, or days after surgery; neither if there was no radiotherapy."""

    ended: date | None = None
    ended_days: float | None = None

    @classmethod
    def parse(cls, text: str) -> Radiotherapy:
        """From ``none``, a date such as 2024-03-31, or a number of days after surgery.

        Raises:
            InputError: it is none of them.
        """
        if text == "none":
            return cls()
        try:
            if not text.replace(".", "", 1).isdigit():
                return cls(date.fromisoformat(text))
            return cls(ended_days=TimePoint(TimePointKind.POSTOPERATIVE, float(text)).days_since_surgery)
        except (ValueError, InputError) as error:  # also 20240331, which is no number of days
            raise InputError(
                f"'--radiotherapy-end {text}' is not a date such as 2024-03-31, a number of days after surgery or none."
            ) from error

    @property
    def was_given(self) -> bool:
        """Whether there was radiotherapy."""
        return self.ended is not None or self.ended_days is not None

    def days_before(self, study: SegmentedTimePoint) -> float | None:
        """Days from the end of radiotherapy to a study, negative before it; ``None`` when not known."""
        if self.ended is not None:
            return None if study.date is None else float((study.date - self.ended).days)
        days = study.time_point.days_since_surgery
        return None if days is None or self.ended_days is None else days - self.ended_days


@dataclass(frozen=True)
class Treatment:
    """The patient's treatment, as the user states it.

    Attributes:
        baseline: index of the baseline study for response.
        radiotherapy: ``None`` when not stated.
        tumour: overrides the tumour for which the models were made.
        surgery: the kind of the last operation.
    """

    baseline: int | None = None
    radiotherapy: Radiotherapy | None = None
    tumour: Tumour | None = None
    surgery: Surgery | None = None


@dataclass(frozen=True)
class Conditions:
    """Which findings may be given, and the reasons against the others.

    Attributes:
        operated: index of the first study after the last operation; ``None`` when no operation is known.
        baseline: index of the baseline study for response; ``None`` when there is none.
        reason: a clause why this study is the baseline.
        radiotherapy_unstated: whether it was chosen without knowing when radiotherapy ended.
        withheld: clauses why response is not judged although there is a baseline.
        questions: what the user must answer before response is judged.
        soon_after_radiotherapy: a sentence if growth in the last study may be pseudoprogression, else empty.
        cautions: further sentences on the limits of the findings.
    """

    tumour: Tumour
    operated: int | None
    baseline: int | None = None
    reason: str = ""
    radiotherapy_unstated: bool = False
    withheld: tuple[str, ...] = ()
    questions: tuple[Question, ...] = ()
    soon_after_radiotherapy: str = ""
    cautions: tuple[str, ...] = ()

    @property
    def allow_response(self) -> bool:
        """Whether response is judged."""
        return self.baseline is not None and not self.withheld and not self.questions


def conditions_of(studies: Sequence[SegmentedTimePoint], region: Region, treatment: Treatment) -> Conditions:
    """Find the operation, the baseline and all reasons against judging response.

    Args:
        region: the region whose lesions can be followed in all studies.

    Raises:
        InputError: the models were made for different tumours, the baseline cannot be one, or dates contradict days.
    """
    if treatment.baseline is not None and treatment.radiotherapy is not None:
        raise InputError(
            "A baseline and the end of radiotherapy are both given, which names two baselines; give one of them."
        )
    tumour = treatment.tumour or _tumour(studies)
    operations = _operations(studies)
    operated = operations[-1] if operations else None
    found = _baseline(studies, treatment, operated or 0)
    withheld, start = [found.withheld] if found.withheld else [], found.place
    if found.question:
        start = operated or 0
    if start is not None:
        if region is not Region.ET:
            withheld.append("the enhancing tumour is not determined in all studies")
        withheld += filter(None, (_unfit_for_response(studies, place) for place in range(start, len(studies))))
        withheld += [f"studies {i + 1} and {j + 1} are of the same images" for i, j in twice(studies)]
        if tumour is Tumour.OTHER:
            withheld.append("this program knows no criteria of response for this tumour")
    return Conditions(
        tumour=tumour,
        operated=operated,
        baseline=found.place,
        reason=found.reason,
        radiotherapy_unstated=found.radiotherapy_unstated,
        withheld=tuple(withheld),
        questions=(found.question,) if found.question else (),
        soon_after_radiotherapy=_soon_after_radiotherapy(studies[-1], treatment),
        cautions=_cautions(operations),
    )


def name_of(studies: Sequence[SegmentedTimePoint], place: int) -> str:
    """The name of a study in sentences: its number and when it was made."""
    study = studies[place]
    when = [study.date.isoformat()] if study.date else []
    if study.time_point.days_since_surgery is not None:
        days = study.time_point.days_since_surgery
        when.append(f"{days:g} {'day' if days == 1 else 'days'} after surgery")
    elif study.time_point.kind is not TimePointKind.UNKNOWN:
        when.append("before surgery" if study.time_point.kind is TimePointKind.PREOPERATIVE else "after surgery")
    return f"study {place + 1} ({', '.join(when)})" if when else f"study {place + 1}"


def unfit_for_residual(studies: Sequence[SegmentedTimePoint], place: int) -> str:
    """A clause why residual tumour may not be judged on a study's segmentation; empty when it may.

    Contours that a reviewer has approved, or that a person drew, always qualify.
    """
    study, which = studies[place], f"the model of {name_of(studies, place)}"
    return unfit_contours(study.made_for, study.time_point.kind, study.review, which)


def _unfit_for_response(studies: Sequence[SegmentedTimePoint], place: int) -> str:
    """As :func:`unfit_for_residual`, for response, which also needs T2 or FLAIR."""
    study = studies[place]
    blind = study.sequences is not None and not study.sequences & {Modality.T2W, Modality.T2F}
    if blind and study.review is not ReviewState.APPROVED:
        return (
            f"{name_of(studies, place)} was segmented without T2 and FLAIR, and no reviewer has approved its contours"
        )
    return unfit_for_residual(studies, place)


def flair_ml(study: SegmentedTimePoint) -> float | None:
    """Volume (mL) of the T2/FLAIR abnormality outside the enhancing tumour; ``None`` when it is not known."""
    known = {Region.WT, Region.ET} <= study.regions
    if not known or (study.sequences is not None and not study.sequences & {Modality.T2W, Modality.T2F}):
        return None
    whole, enhancing = (study.measures.volume(region.value) for region in (Region.WT, Region.ET))
    return None if whole is None or enhancing is None else whole.volume_ml - enhancing.volume_ml


def _tumour(studies: Sequence[SegmentedTimePoint]) -> Tumour:
    tasks = {study.task: study for study in studies if Tumour.of_task(study.task) is not None}
    families = {("glioma" if task and "glioma" in task else task): study for task, study in tasks.items()}
    if len(families) > 1:
        (one, first), (other, second) = list(families.items())[:2]
        raise InputError(
            f"{first.path} was segmented by a model for {one} and {second.path} by one for {other}; segment all "
            "studies with models for one tumour."
        )
    kinds = {Tumour.of_task(task) for task in tasks}
    kinds.discard(None)
    return Tumour.GLIOMA if not kinds else cast(Tumour, kinds.pop()) if len(kinds) == 1 else Tumour.OTHER


def _operations(studies: Sequence[SegmentedTimePoint]) -> list[int]:
    """Indices of the studies right before which there was an operation: after a pre-operative one, or by dates.

    Raises:
        InputError: by its date and its days since surgery, a study was made after an operation that took place before
            the one that an earlier study names.
    """
    found, last = [], None
    for place, study in enumerate(studies):
        days = study.time_point.days_since_surgery
        surgery = study.date - timedelta(days=days) if study.date and days is not None else None
        after_preoperative = place > 0 and (
            studies[place - 1].time_point.kind is TimePointKind.PREOPERATIVE
            and study.time_point.kind is TimePointKind.POSTOPERATIVE
        )
        again = surgery is not None and last is not None and surgery - last > _SAME_OPERATION
        if surgery is not None and last is not None and last - surgery > _SAME_OPERATION:
            raise InputError(
                f"By its date and its days after surgery {study.path} follows an operation of {surgery}, but an "
                f"earlier study follows one of {last}; mend '--date' or '--when'."
            )
        if after_preoperative or again:
            found.append(place)
        last = surgery or last
    return found


@dataclass(frozen=True)
class _Baseline:
    """The index of the baseline and the reason for it; or why there is none, or what must be asked."""

    place: int | None = None
    reason: str = ""
    radiotherapy_unstated: bool = False
    withheld: str = ""
    question: Question | None = None


def _baseline(studies: Sequence[SegmentedTimePoint], treatment: Treatment, operated: int) -> _Baseline:
    last = len(studies) - 1
    if treatment.baseline is not None:
        kind = studies[treatment.baseline].time_point.kind if 0 <= treatment.baseline < last else None
        if kind in (None, TimePointKind.PREOPERATIVE) or treatment.baseline < operated:
            raise InputError(
                f"Study {treatment.baseline + 1} cannot be the baseline of response: it must not be made before an "
                "operation or be the last one."
            )
        return _Baseline(treatment.baseline, "the baseline that was given")
    unknown = [str(place + 1) for place, study in enumerate(studies) if study.time_point.kind is TimePointKind.UNKNOWN]
    if unknown:
        which = f"Was study {unknown[0]}" if len(unknown) == 1 else f"Were studies {', '.join(unknown)}"
        text = f"{which} made before or after surgery? Surgery must not be taken for a response."
        return _Baseline(question=Question(text=text, option="--when, once per study, or --baseline N"))
    after = [
        place
        for place, study in enumerate(studies)
        if study.time_point.kind is TimePointKind.POSTOPERATIVE and place >= operated
    ]
    if len(after) < 2 or after[-1] != last:
        return _Baseline()
    if treatment.radiotherapy is None:
        return _baseline_of_unstated(studies, after)
    if not treatment.radiotherapy.was_given:
        return _Baseline(after[0], "the first after surgery, as there was no radiotherapy")
    return _baseline_after(treatment.radiotherapy, studies, after)


def _baseline_after(
    radiotherapy: Radiotherapy, studies: Sequence[SegmentedTimePoint], after: Sequence[int]
) -> _Baseline:
    days = {place: radiotherapy.days_before(studies[place]) for place in after}
    if None in days.values():
        option = "--date, once per study" if radiotherapy.ended else "--when postoperative:DAYS, once per study"
        text = "How long after radiotherapy was each study made?"
        return _Baseline(question=Question(text=text, option=option))
    later = [place for place, since in days.items() if since is not None and since >= 0]
    if not later or later[0] == after[-1]:
        why = "only the last study was made after radiotherapy: it is the baseline of later ones"
        return _Baseline(withheld=why if later else "no study was made after radiotherapy, which the baseline must be")
    return _Baseline(later[0], "the first after radiotherapy")


def _baseline_of_unstated(studies: Sequence[SegmentedTimePoint], after: Sequence[int]) -> _Baseline:
    """The baseline when radiotherapy is not stated: no study within 72 hours of surgery, as radiotherapy may follow."""
    candidates = [place for place in after[:-1] if not _is_early(studies, place)]
    if candidates:
        first = "" if candidates[0] == after[0] else " that was not made within 72 hours of it"
        return _Baseline(candidates[0], f"the first after surgery{first}; when radiotherapy ended is not stated", True)
    text = (
        "When did radiotherapy end? The baseline is the first study after it, and none made within 72 hours of surgery."
    )
    return _Baseline(question=Question(text=text, option="--radiotherapy-end DATE (or none), or --baseline N"))


def _is_early(studies: Sequence[SegmentedTimePoint], place: int) -> bool:
    """Whether a study was made within 72 hours of surgery: by its days, or as so soon after one before surgery."""
    study, days = studies[place], studies[place].time_point.days_since_surgery
    before = [one.date for one in studies[:place] if one.date and one.time_point.kind is TimePointKind.PREOPERATIVE]
    if days is None and study.date and before:
        days = (study.date - max(before)).days
    return days is not None and days <= EARLY_DAYS


def _soon_after_radiotherapy(last: SegmentedTimePoint, treatment: Treatment) -> str:
    since = treatment.radiotherapy.days_before(last) if treatment.radiotherapy else None
    if since is None or not 0 <= since < PSEUDOPROGRESSION_DAYS:
        return ""
    return (
        f"The last study was made {since:g} days after radiotherapy: in the first twelve weeks growth may be an effect "
        "of the treatment (pseudoprogression) and needs confirmation."
    )


def _cautions(operations: Sequence[int]) -> tuple[str, ...]:
    if len(operations) < 2:
        return ()
    places = ", ".join(str(place + 1) for place in operations)
    return (f"There was more than one operation: before each of the studies {places}.",)
