"""Compares several studies of one patient: extent of resection, the changes of each lesion, response to treatment.

Every study is registered to the last one, rigidly and, if wanted, deformably for the matching of lesions. Volumes and
diameters are measured on each segmentation's own grid, without any transform.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.followup.answers import answers, notes
from GliomaSegLib.followup.comparison import TimePointComparison, TimePointRow
from GliomaSegLib.followup.conditions import Conditions, Treatment, conditions_of, flair_ml, name_of, unfit_for_residual
from GliomaSegLib.followup.deformation import DEFORMATION, Deformation, deform
from GliomaSegLib.followup.planes import obstacle_to_diameters
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.criteria import CRITERIA
from GliomaSegLib.measures.diameters import axial_axis
from GliomaSegLib.measures.lesion_shape import LesionSet
from GliomaSegLib.measures.lesion_size import LEAST_VOXELS, FollowedLesion, followed_lesions, least_counted_mm3
from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory, follow, that_count
from GliomaSegLib.measures.rano import Assessment, TimePoints, assess_response
from GliomaSegLib.measures.rano_text import lesions_text
from GliomaSegLib.measures.resection import Resection, assess_resection, tumour_ml
from GliomaSegLib.preprocessing.registration import register_checked
from GliomaSegLib.preprocessing.rigid import Registration
from GliomaSegLib.progress import Progress, ProgressRecorder, Silent
from GliomaSegLib.results.time_point import SegmentedTimePoint, check_order, twice


@dataclass(frozen=True)
class RegisteredComparison:
    """A comparison, with the studies and transforms that its page shows.

    Attributes:
        transforms: per study the rigid transform from points of the last study to it (LPS mm); ``None`` for the last.
        deformations: per study the deformable registration; ``None`` without one.
    """

    comparison: TimePointComparison
    studies: tuple[SegmentedTimePoint, ...]
    transforms: tuple[sitk.Transform | None, ...]
    deformations: tuple[Deformation | None, ...]


def compare(
    studies: Sequence[SegmentedTimePoint],
    treatment: Treatment | None = None,
    in_place: bool = False,
    deformable: bool = False,
    progress: Progress | None = None,
) -> RegisteredComparison:
    """Compare studies of one patient, given in the order in which they were made.

    Args:
        treatment: the patient's treatment as far as the user states it.
        in_place: the studies are co-registered already: do not register them.
        deformable: match lesions after a deformable registration (:func:`~GliomaSegLib.followup.deformation.deform`);
            measures do not use it.

    Raises:
        InputError: fewer than two studies; different patients or a wrong order; no common region; an image is missing
            or does not fit; or as
            :func:`~GliomaSegLib.followup.conditions.conditions_of`.
    """
    if len(studies) < 2:
        raise InputError("A comparison needs at least two studies; give the earlier one first.")
    check_order(studies)
    treatment = treatment or Treatment()
    region = _common_region(studies)
    conditions = conditions_of(studies, region, treatment)
    recorder = ProgressRecorder(progress or Silent())
    recorder.stage("registration")
    registrations = [*(_registered(study, studies[-1], in_place, recorder) for study in studies[:-1]), None]
    transforms = tuple(one.transform if one else None for one in registrations)
    deformations: tuple[Deformation | None, ...] = (None,) * len(studies)
    if deformable:
        recorder.stage("deformation")
        found = (
            _deformed(study, studies[-1], one) for study, one in zip(studies[:-1], registrations[:-1], strict=True)
        )
        deformations = (*found, None)

    recorder.stage("lesions, resection and response")
    least_mm3 = least_counted_mm3([study.labels.GetSpacing() for study in studies], studies[-1].task)
    possible = [[one for one in study.measures.lesions_of(region) if one.voxels >= LEAST_VOXELS] for study in studies]
    measured = [followed_lesions(study.labels, region, those) for study, those in zip(studies, possible, strict=True)]
    sets = _sets(studies, region, measured, transforms, deformations)
    lesions = that_count(sets, least_mm3)
    history = follow([one.only(those) for one, those in zip(sets, lesions, strict=True)], region)
    resection = None if conditions.operated is None else _resection(studies, conditions.operated, treatment, history)
    responses = _responses(studies, region, history, transforms, conditions, lesions)
    for i, j in twice(studies):
        recorder.warn(
            f"Studies {i + 1} and {j + 1} are of the same images: what differs between them is drawn differently, and "
            "is no change ('gliomaseg agree' compares two segmentations of one examination)."
        )
    for study in studies:
        _warn_of(study, region, recorder)
    rows = [
        _row(study, day, registration, deformation, region, here)
        for study, day, registration, deformation, here in zip(
            studies, _days(studies), registrations, deformations, lesions, strict=True
        )
    ]
    comparison = TimePointComparison(
        studies=tuple(rows),
        region=region,
        least_mm3=least_mm3,
        answers=answers(studies, conditions, resection, history, responses),
        resection=resection,
        operated=conditions.operated,
        course=history,
        responses=responses,
        baseline=conditions.baseline,
        baseline_reason=conditions.reason,
        withheld=conditions.withheld,
        questions=conditions.questions,
        deformation=DEFORMATION if deformable else None,
        notes=notes(least_mm3, [row.specks for row in rows], conditions, responses),
        warnings=tuple(dict.fromkeys(recorder.warnings)),
    )
    return RegisteredComparison(comparison, tuple(studies), transforms, deformations)


def _common_region(studies: Sequence[SegmentedTimePoint]) -> Region:
    for region in (Region.ET, Region.WT):
        if all(region in study.regions for study in studies):
            return region
    raise InputError(
        "The studies have no region in common: each must tell the enhancing tumour apart, or each the whole tumour; "
        "segment them with one model."
    )


# --- registration -----------------------------------------------------------------------------------------------------


def _registered(
    study: SegmentedTimePoint, last: SegmentedTimePoint, in_place: bool, progress: Progress
) -> Registration | None:
    if in_place:
        return None
    scans = []
    for one in (study, last):
        if one.image is None:
            why = f" ({one.doubts[0].rstrip('.')})" if one.doubts and one.path.is_dir() else ""
            raise InputError(
                f"The scan of {one.path} is not at hand{why}, so that it cannot be registered; give it with --image, "
                "or say --no-registration when all studies are co-registered."
            )
        scans.append(one.image)
    return register_checked(scans[1], scans[0], str(last.path), str(study.path), progress)


def _deformed(study: SegmentedTimePoint, last: SegmentedTimePoint, registration: Registration | None) -> Deformation:
    """The deformable registration that follows the rigid one."""
    if study.image is None or last.image is None:
        raise InputError(
            f"The scans of {study.path} and {last.path} are not both at hand, so that no deformation between them can "
            "be found; give them with --image, or leave --deformable out."
        )
    if study.sequence and last.sequence and study.sequence is not last.sequence:
        raise InputError(
            f"{study.path} was drawn on {study.sequence.title} and {last.path} on {last.sequence.title}: a deformation "
            "can be found between images of one sequence alone; leave --deformable out."
        )
    return deform(last.image, study.image, registration.transform if registration else None, last.labels, study.labels)


# --- measures ---------------------------------------------------------------------------------------------------------


def _sets(
    studies: Sequence[SegmentedTimePoint],
    region: Region,
    lesions: Sequence[Sequence[FollowedLesion]],
    transforms: Sequence[sitk.Transform | None],
    deformations: Sequence[Deformation | None],
) -> list[LesionSet]:
    return [
        LesionSet(
            study.labels,
            region,
            here,
            deformation.forward if deformation else rigid,
            deformation.inverse if deformation else None,
            study.image,
        )
        for study, here, rigid, deformation in zip(studies, lesions, transforms, deformations, strict=True)
    ]


def _resection(
    studies: Sequence[SegmentedTimePoint], operated: int, treatment: Treatment, history: LesionHistory
) -> Resection:
    before, after = studies[operated - 1], studies[operated]
    # Without T2 and FLAIR it is not known how much non-enhancing tumour is left.
    known = after.regions if flair_ml(after) is not None else after.regions - {Region.WT}
    unseen = [name for step in history.steps[operated - 1] if step.change is Change.NOT_COVERED for name in step.before]
    outside = f"{name_of(studies, operated)} does not cover the place of {lesions_text(unseen)}" if unseen else ""
    return assess_resection(
        {region: tumour_ml(before.labels, region) for region in (Region.ET, Region.TC) if region in before.regions},
        after.labels,
        known,
        after.time_point,
        after.has_native_t1,
        after.probabilities.get(Region.ET),
        treatment.surgery,
        unfit_for_residual(studies, operated) or unfit_for_residual(studies, operated - 1) or outside,
    )


def _responses(
    studies: Sequence[SegmentedTimePoint],
    region: Region,
    history: LesionHistory,
    transforms: Sequence[sitk.Transform | None],
    conditions: Conditions,
    lesions: Sequence[Sequence[FollowedLesion]],
) -> tuple[Assessment, ...]:
    """The response of the last study by each set of criteria for this tumour; none when response is not judged."""
    if conditions.baseline is None or not conditions.allow_response:
        return ()
    time = TimePoints(
        slice_mm=[study.labels.GetSpacing()[axial_axis(study.labels)] for study in studies],
        baseline=conditions.baseline,
        baseline_name=name_of(studies, conditions.baseline),
        flair_ml=[None if _at_border(study, Region.WT) else flair_ml(study) for study in studies],
        obstacle=obstacle_to_diameters(studies, transforms, conditions.baseline),
        specks=len(studies[-1].measures.lesions_of(region)) - len(lesions[-1]),
    )
    return tuple(assess_response(history, time, criteria) for criteria in CRITERIA[conditions.tumour])


def _days(studies: Sequence[SegmentedTimePoint]) -> list[float | None]:
    first = studies[0].date
    dates = [study.date for study in studies if study.date]
    if first and len(dates) == len(studies):
        return [float((day - first).days) for day in dates]
    known = [study.time_point.days_since_surgery for study in studies]
    return known if None not in known else [None] * len(studies)


def _row(
    study: SegmentedTimePoint,
    day: float | None,
    registration: Registration | None,
    deformation: Deformation | None,
    region: Region,
    lesions: Sequence[FollowedLesion],
) -> TimePointRow:
    followed = {lesion.id for lesion in lesions}
    specks = [one for one in study.measures.lesions_of(region) if one.id not in followed]
    return TimePointRow(
        name=study.name,
        path=study.path,
        origin=study.origin,
        kind=study.time_point.kind,
        days_since_surgery=study.time_point.days_since_surgery,
        date=study.date,
        day=day,
        volumes=study.measures.volumes,
        foci=len(lesions),
        specks=len(specks),
        specks_ml=sum(one.volume_ml for one in specks),
        moved_mm=registration.shift_mm if registration else None,
        mirror_contrast=registration.mirror_contrast if registration else None,
        bent_mm=deformation.within_mm if deformation else None,
    )


def _warn_of(study: SegmentedTimePoint, region: Region, progress: Progress) -> None:
    for doubt in study.doubts:
        progress.warn(f"{study.name}: {doubt}")
    if study.time_point.kind is TimePointKind.UNKNOWN:
        progress.warn(f"{study.name}: it is not stated whether the study was made before or after surgery.")
    touching = ""
    if cut := _at_border(study, region):
        touching = "1 lesion touches" if cut == 1 else f"{cut} lesions touch"
    elif _at_border(study, Region.WT):
        touching = "the whole tumour touches"
    if touching:
        progress.warn(f"{study.name}: {touching} the border of the image, so that a part may lie outside.")


def _at_border(study: SegmentedTimePoint, region: Region) -> int:
    """The number of lesions that touch the border of the image."""
    return sum(bool(lesion.at_border) for lesion in study.measures.lesions_of(region))
