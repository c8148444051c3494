"""Several studies of one patient side by side: what surgery took, what became of each lesion, how treatment did.

Every study is registered, rigidly, to the last one by the road's own registration, and lesions are matched after a
deformation too where that is asked for. Volumes and diameters are those of the segmentations on their own grids, before
anything is moved.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.deformation import DEFORMATION, Deformation, deform
from GliomaSegLib.label_maps import region_mask
from GliomaSegLib.labels import REGION_LABELS, Region
from GliomaSegLib.measures.lesion_shape import LesionSet
from GliomaSegLib.measures.lesion_tracking import LesionHistory, follow
from GliomaSegLib.measures.rano import ALL_CRITERIA, NOT_IN_IMAGES, Assessment, assess_response
from GliomaSegLib.measures.resection import LEAST_VOXELS, Finding, Resection, assess_resection, without_specks
from GliomaSegLib.measures.volumes import Lesion, Measures, Volume, measure, slice_axis, volume_text
from GliomaSegLib.preprocessing.registration import register_checked
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.record import Record
from GliomaSegLib.results.time_point import Exam, check_order


class TimePointRow(Record):
    """One study in the comparison.

    Attributes:
        day: days since surgery, or since the first study when all have a date; ``None`` when neither is known.
        moved_mm: mean shift of the field of view to the last study; ``None`` when it was not registered.
        mirror_contrast: see :mod:`GliomaSegLib.preprocessing.rigid`.
        bent_mm: 95 % of the head move by less than this in the deformation after which lesions were matched; ``None``
            without one.
    """

    name: str
    path: Path
    origin: str
    kind: TimePointKind
    days_since_surgery: float | None
    date: date | None
    day: float | None
    volumes: tuple[Volume, ...]
    foci: int
    moved_mm: float | None = None
    mirror_contrast: float | None = None
    bent_mm: float | None = None


class Comparison(Record):
    """All that is said about a patient's studies.

    Attributes:
        answers: the answer in plain words, a sentence each.
        region: whose lesions are followed.
        resection: of the first study after surgery, when the one before it was made before surgery.
        responses: of the last study, by each set of criteria; empty with fewer than two studies after surgery, or when
            the enhancing tumour is not told apart.
        baseline: position of the study with which response is compared.
        deformation: how the lesions of two studies were brought together before they were matched, beyond the rigid
            registration; ``None`` without.
    """

    studies: tuple[TimePointRow, ...]
    region: Region
    answers: tuple[str, ...]
    resection: Resection | None
    course: LesionHistory
    responses: tuple[Assessment, ...]
    baseline: int | None
    deformation: str | None = None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Aligned:
    """A comparison with what is needed to draw it.

    Attributes:
        transforms: rigid, take points of the last study to each (LPS mm).
        deformations: those after which lesions were matched, where there are any.
    """

    comparison: Comparison
    exams: tuple[Exam, ...]
    transforms: tuple[sitk.Transform | None, ...]
    deformations: tuple[Deformation | None, ...]


def compare(
    exams: Sequence[Exam],
    in_place: bool = False,
    baseline: int | None = None,
    progress: Progress | None = None,
    deformable: bool = False,
) -> Aligned:
    """Compare studies of one patient, given in the order in which they were made.

    Args:
        in_place: all lie in one space already; nothing is registered.
        baseline: position of the study with which response to treatment is compared; by default the first one that is
            not pre-operative.
        deformable: lesions are matched after a deformation too (:func:`~GliomaSegLib.followup.deformation.deform`);
            nothing is measured after it.

    Raises:
        InputError: fewer than two studies; another patient or order; no region that all tell apart; an image is not
            at hand or does not fit; nothing before surgery.
    """
    if len(exams) < 2:
        raise InputError("A comparison needs at least two studies; give the earlier one first.")
    check_order(exams)
    journal = ProgressRecorder(progress or Silent())
    region = _common_region(exams)
    journal.stage("registration")
    registrations = [*(_registered(exam, exams[-1], in_place, journal) for exam in exams[:-1]), None]
    transforms = tuple(one and one.transform for one in registrations)
    deformations: tuple[Deformation | None, ...] = (None,) * len(exams)
    if deformable:
        journal.stage("deformation")
        bent = (_deformed(exam, exams[-1], one) for exam, one in zip(exams[:-1], registrations[:-1], strict=True))
        deformations = (*bent, None)

    journal.stage("lesions, resection and response")
    operated = _first_after_surgery(exams)
    resection = None if operated is None else _resection(exams[operated - 1], exams[operated])
    counted = [_without_specks(exam, region) for exam in exams]
    course = follow(
        [
            LesionSet(
                labels, region, measures.lesions_of(region), bent.there if bent else transform, bent and bent.back
            )
            for (labels, measures), transform, bent in zip(counted, transforms, deformations, strict=True)
        ],
        region,
    )
    start = _baseline(exams, baseline)
    responses = _responses(course, exams, start) if region is Region.ET and start is not None else ()
    for exam in exams:
        _warn_of(exam, region, journal)
    comparison = Comparison(
        studies=tuple(
            _row(exam, day, registration, deformation, measures.lesions_of(region))
            for exam, day, registration, deformation, (_, measures) in zip(
                exams, _days(exams), registrations, deformations, counted, strict=True
            )
        ),
        region=region,
        answers=_answers(resection, _named_study(operated, exams), course, responses),
        resection=resection,
        course=course,
        responses=responses,
        baseline=start if responses else None,
        deformation=DEFORMATION if deformable else None,
        notes=_notes(exams, responses),
        warnings=tuple(dict.fromkeys(journal.warnings)),
    )
    return Aligned(comparison, tuple(exams), transforms, deformations)


def _common_region(exams: Sequence[Exam]) -> Region:
    for region in (Region.ET, Region.WT):
        if all(region in exam.regions for exam in exams):
            return region
    raise InputError(
        "The studies have no region in common: each must tell the enhancing tumour apart, or each the whole tumour; "
        "segment them with one model."
    )


# --- registration --------------------------------------------------------------------------------------------------


def _registered(exam: Exam, last: Exam, in_place: bool, progress: Progress) -> Registration | None:
    if in_place:
        return None
    for one in (exam, last):
        if one.image is None:
            why = f" ({one.doubts[0].rstrip('.')})" if one.doubts and one.path.is_dir() else ""
            raise InputError(
                f"The scan of {one.path} is not at hand{why}, so that it cannot be registered; give it with --image, "
                "or say --in-place when all studies lie in one space."
            )
    return register_checked(last.image, exam.image, str(last.path), str(exam.path), progress)


def _deformed(exam: Exam, last: Exam, registration: Registration | None) -> Deformation:
    """Beyond the rigid registration; for the matching of lesions alone."""
    if exam.image is None or last.image is None:
        raise InputError(
            f"The scans of {exam.path} and {last.path} are not both at hand, so that no deformation between them can "
            "be found; give them with --image, or leave --deformable out."
        )
    return deform(last.image, exam.image, registration and registration.transform, last.labels, exam.labels)


# --- measures ------------------------------------------------------------------------------------------------------


def _first_after_surgery(exams: Sequence[Exam]) -> int | None:
    """Position of the study that follows the last pre-operative one."""
    before = [place for place, exam in enumerate(exams) if exam.time_point.kind is TimePointKind.PREOPERATIVE]
    return before[-1] + 1 if before and before[-1] < len(exams) - 1 else None


def _resection(pre: Exam, post: Exam) -> Resection:
    return assess_resection(
        {Region(one.name): one.volume_ml for one in pre.measures.volumes if one.name in Region.__members__},
        post.labels,
        post.regions,
        post.time_point,
        post.has_native_t1,
        post.probabilities.get(Region.ET),
    )


def _without_specks(exam: Exam, region: Region) -> tuple[sitk.Image, Measures]:
    """The region alone, without objects of fewer than 20 voxels, and its measures."""
    kept = without_specks(region_mask(sitk.GetArrayViewFromImage(exam.labels), region))
    labels = sitk.GetImageFromArray(kept.astype(np.uint8) * np.uint8(REGION_LABELS[region][-1]))
    labels.CopyInformation(exam.labels)
    return labels, measure(labels, exam.brain, (region,), exam.probabilities)


def _baseline(exams: Sequence[Exam], wanted: int | None) -> int | None:
    """Where response begins; ``None`` when fewer than two studies were made after surgery."""
    after = [place for place, exam in enumerate(exams) if exam.time_point.kind is not TimePointKind.PREOPERATIVE]
    if wanted is not None:
        if wanted not in after[:-1]:
            raise InputError(
                f"Study {wanted + 1} cannot be the baseline of response: it must not be pre-operative or the last one."
            )
        return wanted
    return after[0] if len(after) > 1 else None


def _responses(course: LesionHistory, exams: Sequence[Exam], baseline: int) -> tuple[Assessment, ...]:
    slice_mm = [exam.labels.GetSpacing()[slice_axis(exam.labels)] for exam in exams]
    return tuple(assess_response(course, slice_mm, criteria, baseline) for criteria in ALL_CRITERIA)


def _days(exams: Sequence[Exam]) -> list[float | None]:
    if all(exam.date for exam in exams):
        return [float((exam.date - exams[0].date).days) for exam in exams]
    known = [exam.time_point.days_since_surgery for exam in exams]
    return known if None not in known else [None] * len(exams)


def _row(
    exam: Exam,
    day: float | None,
    registration: Registration | None,
    deformation: Deformation | None,
    lesions: Sequence[Lesion],
) -> TimePointRow:
    return TimePointRow(
        name=exam.name,
        path=exam.path,
        origin=exam.origin,
        kind=exam.time_point.kind,
        days_since_surgery=exam.time_point.days_since_surgery,
        date=exam.date,
        day=day,
        volumes=exam.measures.volumes,
        foci=len(lesions),
        moved_mm=registration and registration.shift_mm,
        mirror_contrast=registration and registration.mirror_contrast,
        bent_mm=deformation and deformation.within_mm,
    )


# --- words ---------------------------------------------------------------------------------------------------------


def _warn_of(exam: Exam, region: Region, progress: Progress) -> None:
    for doubt in exam.doubts:
        progress.warn(f"{exam.name}: {doubt}")
    if exam.time_point.kind is TimePointKind.UNKNOWN:
        progress.warn(f"{exam.name}: it is not stated whether the study was made before or after surgery.")
    cut = sum(bool(lesion.at_border) for lesion in exam.measures.lesions_of(region))
    if cut:
        progress.warn(
            f"{exam.name}: {cut} {'lesion touches' if cut == 1 else 'lesions touch'} the border of the image, so that "
            "a part may lie outside."
        )


def _named_study(place: int | None, exams: Sequence[Exam]) -> str:
    """What stands before a sentence on a study that is not the last, on which all others are."""
    return "" if place in (None, len(exams) - 1) else f"Study {place + 1} of {len(exams)}, {exams[place].name}: "


def _answers(
    resection: Resection | None, of_study: str, course: LesionHistory, responses: Sequence[Assessment]
) -> tuple[str, ...]:
    """What the last study shows comes first; ``of_study`` says so where the resection is that of an earlier one."""
    operation, now = [], [_lesion_sentence(course)]
    if resection:
        extents = (_extent_sentence(resection, place) for place in range(len(resection.extents)))
        operation = [f"{of_study}{sentence}" for sentence in (resection.answer, *extents)]
    if responses:
        now.append(f"By imaging alone: {'; '.join(one.brief for one in responses)}.")
    return tuple(now + operation if of_study else operation + now)


def _extent_sentence(resection: Resection, place: int) -> str:
    one = resection.extents[place]
    what = {Region.ET: "enhancing tumour", Region.TC: "tumour core"}[one.region]
    volumes = f"{volume_text(one.before_ml)} before, {volume_text(one.after_ml)} after"
    if resection.finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL):
        return f"Extent of resection of the {what}: {100 * one.fraction:.1f} % ({volumes})."
    return f"The {what} against before surgery: {-100 * one.fraction:+.1f} % ({volumes})."


def _lesion_sentence(course: LesionHistory) -> str:
    together = [step for step in course.steps[-1] if max(len(step.before), len(step.after)) > 1]
    counts = Counter(step.change.value for step in course.steps[-1] if step not in together)
    changes = ", ".join(
        [f"{len(step.before)} became {len(step.after)} ({step.change.value})" for step in together]
        + [f"{count} {change}" for change, count in counts.items()]
    )
    what = "enhancing" if course.region is Region.ET else "tumour"
    was, now = (sum(track.lesions[place] is not None for track in course.tracks) for place in (-2, -1))
    return (
        f"{now} {what} {'lesion' if now == 1 else 'lesions'} now, {was} in the study before"
        f"{f': {changes}' if changes else ''}."
    )


def _notes(exams: Sequence[Exam], responses: Sequence[Assessment]) -> tuple[str, ...]:
    mm3 = sorted({round(LEAST_VOXELS * float(np.prod(exam.labels.GetSpacing())), 1) for exam in exams})
    sizes = " to ".join(f"{value:g}" for value in dict.fromkeys((mm3[0], mm3[-1])))
    notes = [f"Lesions of fewer than {LEAST_VOXELS} voxels ({sizes} mm³) are not counted as lesions."]
    return (*notes, *([NOT_IN_IMAGES] if responses else []))
