"""Several studies of one patient side by side: what surgery took, what became of each lesion, how treatment did.

Every study is registered, rigidly, to the last one by the road's own registration. Volumes and diameters are those of
the segmentations on their own grids, before anything is moved.
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
from GliomaSegLib.followup.exam import Exam, check_order
from GliomaSegLib.labels import REGION_LABELS, Region, region_mask
from GliomaSegLib.measures.matching import Course, Foci, follow
from GliomaSegLib.measures.resection import LEAST_VOXELS, Finding, Resection, assess_resection, without_specks
from GliomaSegLib.measures.response import ALL_CRITERIA, NOT_IN_IMAGES, Assessment, assess_response
from GliomaSegLib.measures.volumes import Lesion, Measures, Volume, measure, slice_axis, volume_text
from GliomaSegLib.preprocessing.align import DOUBTFUL_BELOW, FAILED_BELOW_NMI, MIRRORED_BELOW, Registration, register
from GliomaSegLib.progress import Journal, Progress, Silent
from GliomaSegLib.record import Record


class TimePointRow(Record):
    """One study in the comparison.

    Attributes:
        day: days since surgery, or since the first study when all have a date; ``None`` when neither is known.
        moved_mm: mean shift of the field of view to the last study; ``None`` when it was not registered.
        mirror_contrast: see :mod:`GliomaSegLib.preprocessing.align`.
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


class Comparison(Record):
    """All that is said about a patient's studies.

    Attributes:
        answers: the answer in plain words, a sentence each.
        region: whose lesions are followed.
        resection: of the first study after surgery, when the one before it was made before surgery.
        responses: of the last study, by each set of criteria; empty with fewer than two studies after surgery, or when
            the enhancing tumour is not told apart.
        baseline: position of the study with which response is compared.
    """

    studies: tuple[TimePointRow, ...]
    region: Region
    answers: tuple[str, ...]
    resection: Resection | None
    course: Course
    responses: tuple[Assessment, ...]
    baseline: int | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Aligned:
    """A comparison with what is needed to draw it; ``transforms`` take points of the last study to each (LPS mm)."""

    comparison: Comparison
    exams: tuple[Exam, ...]
    transforms: tuple[sitk.Transform | None, ...]


def compare(
    exams: Sequence[Exam], in_place: bool = False, baseline: int | None = None, progress: Progress | None = None
) -> Aligned:
    """Compare studies of one patient, given in the order in which they were made.

    Args:
        in_place: all lie in one space already; nothing is registered.
        baseline: position of the study with which response to treatment is compared; by default the first one that is
            not pre-operative.

    Raises:
        InputError: fewer than two studies; another patient or order; no region that all tell apart; an image is not
            at hand or does not fit; nothing before surgery.
    """
    if len(exams) < 2:
        raise InputError("A comparison needs at least two studies; give the earlier one first.")
    check_order(exams)
    journal = Journal(progress or Silent())
    region = _common_region(exams)
    journal.stage("registration")
    registrations = [*(_registered(exam, exams[-1], in_place, journal) for exam in exams[:-1]), None]
    transforms = tuple(one and one.transform for one in registrations)

    journal.stage("lesions, resection and response")
    resection = _resection(exams)
    counted = [_without_specks(exam, region) for exam in exams]
    course = follow(
        [
            Foci(labels, region, measures.lesions_of(region), transform)
            for (labels, measures), transform in zip(counted, transforms, strict=True)
        ],
        region,
    )
    start = _baseline(exams, baseline)
    responses = _responses(course, exams, start) if region is Region.ET and start is not None else ()
    for exam in exams:
        _warn_of(exam, region, journal)
    comparison = Comparison(
        studies=tuple(
            _row(exam, day, registration, measures.lesions_of(region))
            for exam, day, registration, (_, measures) in zip(exams, _days(exams), registrations, counted, strict=True)
        ),
        region=region,
        answers=_answers(resection, course, responses),
        resection=resection,
        course=course,
        responses=responses,
        baseline=start if responses else None,
        notes=_notes(exams, responses),
        warnings=tuple(dict.fromkeys(journal.warnings)),
    )
    return Aligned(comparison, tuple(exams), transforms)


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
    try:
        found = register(last.image, exam.image)
    except InputError as error:
        raise InputError(f"{exam.path} cannot be registered to {last.path}: {error}") from error
    _judge(found, exam, last, progress)
    return found


def _judge(found: Registration, exam: Exam, last: Exam, progress: Progress) -> None:
    if found.information < FAILED_BELOW_NMI:
        raise InputError(
            f"{exam.path} could not be registered to {last.path}: no position was found where they fit (mutual "
            f"information {found.information:.3f}); check that both are of one patient."
        )
    if found.mirror_contrast < MIRRORED_BELOW:
        raise InputError(
            f"{exam.path} is mirrored left to right with respect to {last.path}: its mirror image fits better "
            f"(contrast {found.mirror_contrast:.2f}); correct the one that is wrong."
        )
    if found.mirror_contrast < DOUBTFUL_BELOW:
        progress.warn(
            f"{exam.path} fits {last.path} no better than its mirror image does (contrast "
            f"{found.mirror_contrast:.2f}): check that both are of one patient and lie in place."
        )


# --- measures ------------------------------------------------------------------------------------------------------


def _resection(exams: Sequence[Exam]) -> Resection | None:
    """Of the study that follows the last pre-operative one, against that."""
    before = [place for place, exam in enumerate(exams) if exam.time_point.kind is TimePointKind.PREOPERATIVE]
    if not before or before[-1] == len(exams) - 1:
        return None
    pre, post = exams[before[-1]], exams[before[-1] + 1]
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


def _responses(course: Course, exams: Sequence[Exam], baseline: int) -> tuple[Assessment, ...]:
    slice_mm = [exam.labels.GetSpacing()[slice_axis(exam.labels)] for exam in exams]
    return tuple(assess_response(course, slice_mm, criteria, baseline) for criteria in ALL_CRITERIA)


def _days(exams: Sequence[Exam]) -> list[float | None]:
    if all(exam.date for exam in exams):
        return [float((exam.date - exams[0].date).days) for exam in exams]
    known = [exam.time_point.days_since_surgery for exam in exams]
    return known if None not in known else [None] * len(exams)


def _row(exam: Exam, day: float | None, registration: Registration | None, lesions: Sequence[Lesion]) -> TimePointRow:
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


def _answers(resection: Resection | None, course: Course, responses: Sequence[Assessment]) -> tuple[str, ...]:
    answers = [resection.answer] if resection else []
    if resection:
        answers += [_extent_sentence(resection, place) for place in range(len(resection.extents))]
    answers.append(_lesion_sentence(course))
    if responses:
        answers.append(f"By imaging alone: {'; '.join(one.brief for one in responses)}.")
    return tuple(answers)


def _extent_sentence(resection: Resection, place: int) -> str:
    one = resection.extents[place]
    what = {Region.ET: "enhancing tumour", Region.TC: "tumour core"}[one.region]
    volumes = f"{volume_text(one.before_ml)} before, {volume_text(one.after_ml)} after"
    if resection.finding in (Finding.RESIDUAL, Finding.GROSS_TOTAL):
        return f"Extent of resection of the {what}: {100 * one.fraction:.1f} % ({volumes})."
    return f"The {what} against before surgery: {-100 * one.fraction:+.1f} % ({volumes})."


def _lesion_sentence(course: Course) -> str:
    counts = Counter[str]()
    for step in course.steps[-1]:
        counts[step.change.value] += max(len(step.before), len(step.after))
    changes = ", ".join(f"{count} {change}" for change, count in counts.items())
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
