"""Several studies of one patient compared: what surgery removed, what became of each lesion, response to treatment.

Every study is registered, rigidly, to the last one, and lesions are matched after a deformation too where that is asked
for. Volumes and diameters are those of the segmentations on their own grids, before anything is moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.answers import answers, notes
from GliomaSegLib.followup.comparison import TimePointComparison, TimePointRow
from GliomaSegLib.followup.conditions import (
    Conditions,
    Treatment,
    conditions_of,
    flair_ml,
    name_of,
    unfit_for_residual,
)
from GliomaSegLib.followup.deformation import DEFORMATION, Deformation, deform
from GliomaSegLib.followup.planes import obstacle_to_diameters
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.criteria import CRITERIA
from GliomaSegLib.measures.diameters import axial_axis
from GliomaSegLib.measures.lesion_shape import LesionSet
from GliomaSegLib.measures.lesion_size import FollowedLesion, counted, followed_lesions, least_counted_mm3
from GliomaSegLib.measures.lesion_tracking import LesionHistory, follow
from GliomaSegLib.measures.rano import Assessment, TimePoints, assess_response
from GliomaSegLib.measures.resection import Resection, assess_resection
from GliomaSegLib.preprocessing.registration import register_checked
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.time_point import Exam, check_order


@dataclass(frozen=True)
class Aligned:
    """A comparison with what is needed to draw it.

    Attributes:
        transforms: rigid, take points of the last study to each (LPS mm).
        deformations: those after which lesions were matched, where there are any.
    """

    comparison: TimePointComparison
    exams: tuple[Exam, ...]
    transforms: tuple[sitk.Transform | None, ...]
    deformations: tuple[Deformation | None, ...]


def compare(
    exams: Sequence[Exam],
    treatment: Treatment | None = None,
    in_place: bool = False,
    deformable: bool = False,
    progress: Progress | None = None,
) -> Aligned:
    """Compare studies of one patient, given in the order in which they were made.

    Args:
        treatment: what the user says of the patient's treatment.
        in_place: the studies are co-registered already; nothing is registered.
        deformable: lesions are matched after a deformation too (:func:`~GliomaSegLib.followup.deformation.deform`);
            nothing is measured after it.

    Raises:
        InputError: fewer than two studies; another patient or order; no region that all tell apart; an image is not
            at hand or does not fit; nothing before surgery; or as
            :func:`~GliomaSegLib.followup.conditions.conditions_of`.
    """
    if len(exams) < 2:
        raise InputError("A comparison needs at least two studies; give the earlier one first.")
    check_order(exams)
    treatment = treatment or Treatment()
    region = _common_region(exams)
    conditions = conditions_of(exams, region, treatment)
    recorder = ProgressRecorder(progress or Silent())
    recorder.stage("registration")
    registrations = [*(_registered(exam, exams[-1], in_place, recorder) for exam in exams[:-1]), None]
    transforms = tuple(one and one.transform for one in registrations)
    deformations: tuple[Deformation | None, ...] = (None,) * len(exams)
    if deformable:
        recorder.stage("deformation")
        found = (_deformed(exam, exams[-1], one) for exam, one in zip(exams[:-1], registrations[:-1], strict=True))
        deformations = (*found, None)

    recorder.stage("lesions, resection and response")
    least_mm3 = least_counted_mm3([exam.labels.GetSpacing() for exam in exams], exams[-1].task)
    lesions = [
        followed_lesions(exam.labels, region, counted(exam.measures.lesions_of(region), least_mm3)) for exam in exams
    ]
    history = _history(exams, region, lesions, transforms, deformations)
    resection = None if conditions.operated is None else _resection(exams, conditions.operated, treatment)
    responses = _responses(exams, region, history, transforms, conditions, lesions)
    for exam in exams:
        _warn_of(exam, region, recorder)
    rows = [
        _row(exam, day, registration, deformation, region, here)
        for exam, day, registration, deformation, here in zip(
            exams, _days(exams), registrations, deformations, lesions, strict=True
        )
    ]
    comparison = TimePointComparison(
        studies=tuple(rows),
        region=region,
        least_mm3=least_mm3,
        answers=answers(exams, conditions, resection, history, responses),
        resection=resection,
        course=history,
        responses=responses,
        baseline=conditions.baseline,
        baseline_reason=conditions.reason,
        withheld=conditions.withheld,
        questions=conditions.questions,
        deformation=DEFORMATION if deformable else None,
        notes=notes(exams, least_mm3, [row.specks for row in rows], conditions, bool(responses)),
        warnings=tuple(dict.fromkeys(recorder.warnings)),
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


# --- registration -----------------------------------------------------------------------------------------------------


def _registered(exam: Exam, last: Exam, in_place: bool, progress: Progress) -> Registration | None:
    if in_place:
        return None
    for one in (exam, last):
        if one.image is None:
            why = f" ({one.doubts[0].rstrip('.')})" if one.doubts and one.path.is_dir() else ""
            raise InputError(
                f"The scan of {one.path} is not at hand{why}, so that it cannot be registered; give it with --image, "
                "or say --no-registration when all studies are co-registered."
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


# --- measures ---------------------------------------------------------------------------------------------------------


def _history(
    exams: Sequence[Exam],
    region: Region,
    lesions: Sequence[Sequence[FollowedLesion]],
    transforms: Sequence[sitk.Transform | None],
    deformations: Sequence[Deformation | None],
) -> LesionHistory:
    sets = [
        LesionSet(
            exam.labels, region, here, deformation.there if deformation else rigid, deformation and deformation.back
        )
        for exam, here, rigid, deformation in zip(exams, lesions, transforms, deformations, strict=True)
    ]
    return follow(sets, region)


def _resection(exams: Sequence[Exam], operated: int, treatment: Treatment) -> Resection:
    before, after = exams[operated - 1], exams[operated]
    return assess_resection(
        {Region(one.name): one.volume_ml for one in before.measures.volumes if one.name in Region.__members__},
        after.labels,
        after.regions,
        after.time_point,
        after.has_native_t1,
        after.probabilities.get(Region.ET),
        treatment.surgery,
        unfit_for_residual(exams, operated) or unfit_for_residual(exams, operated - 1),
    )


def _responses(
    exams: Sequence[Exam],
    region: Region,
    history: LesionHistory,
    transforms: Sequence[sitk.Transform | None],
    conditions: Conditions,
    lesions: Sequence[Sequence[FollowedLesion]],
) -> tuple[Assessment, ...]:
    """The last study by each set of criteria for this tumour; none when response is not judged."""
    if conditions.baseline is None or not conditions.allow_response:
        return ()
    time = TimePoints(
        slice_mm=[exam.labels.GetSpacing()[axial_axis(exam.labels)] for exam in exams],
        baseline=conditions.baseline,
        baseline_name=name_of(exams, conditions.baseline),
        flair_ml=[flair_ml(exam) for exam in exams],
        obstacle=obstacle_to_diameters(exams, transforms, conditions.baseline),
        specks=len(exams[-1].measures.lesions_of(region)) - len(lesions[-1]),
    )
    return tuple(assess_response(history, time, criteria) for criteria in CRITERIA[conditions.tumour])


def _days(exams: Sequence[Exam]) -> list[float | None]:
    first = exams[0].date
    dates = [exam.date for exam in exams if exam.date]
    if first and len(dates) == len(exams):
        return [float((day - first).days) for day in dates]
    known = [exam.time_point.days_since_surgery for exam in exams]
    return known if None not in known else [None] * len(exams)


def _row(
    exam: Exam,
    day: float | None,
    registration: Registration | None,
    deformation: Deformation | None,
    region: Region,
    lesions: Sequence[FollowedLesion],
) -> TimePointRow:
    specks = exam.measures.lesions_of(region)[len(lesions) :]
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
        specks=len(specks),
        specks_ml=sum(one.volume_ml for one in specks),
        moved_mm=registration and registration.shift_mm,
        mirror_contrast=registration and registration.mirror_contrast,
        bent_mm=deformation and deformation.within_mm,
    )


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
