"""The measures of one segmented case: volumes, lesions, residual tumour after surgery, and implausible findings."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.plausibility import implausible
from GliomaSegLib.measures.resection import ResidualAnswer, assess_residual
from GliomaSegLib.measures.volumes import Measures, measure
from GliomaSegLib.options import ReviewState, Task


@dataclass(frozen=True)
class CaseAssessment:
    """The measures of a case, and its implausible findings, a sentence each.

    ``residual`` is ``None`` unless the study was made after surgery and ET is segmented.
    """

    measures: Measures
    residual: ResidualAnswer | None = None
    implausible: tuple[str, ...] = ()


def unfit_contours(
    made_for: Collection[TimePointKind], kind: TimePointKind, review: ReviewState | None, which: str = "the model"
) -> str:
    """Why residual tumour is not judged on the contours of a model; empty when it is.

    Contours that a reviewer has approved are judged whatever the model was made for, rejected ones are not.

    Args:
        which: name of the model in the clause.
    """
    if review is ReviewState.REJECTED:
        return f"a reviewer has rejected the contours of {which}"
    if review is ReviewState.APPROVED or not made_for or kind in (TimePointKind.UNKNOWN, *made_for):
        return ""
    when = "after" if kind is TimePointKind.POSTOPERATIVE else "before"
    return f"{which} was not made for studies {when} surgery, and no reviewer has approved its contours"


def assess_case(
    labels: sitk.Image,
    brain: sitk.Image,
    regions: Collection[Region],
    probabilities: Mapping[Region, sitk.Image],
    time_point: TimePoint,
    present: Collection[Modality],
    edited: bool = False,
    task: Task | str | None = None,
    made_for: Collection[TimePointKind] = (),
    review: ReviewState = ReviewState.DRAFT,
) -> CaseAssessment:
    """Measure an internal label map; the images are those of :func:`~GliomaSegLib.measures.volumes.measure`.

    Args:
        present: the sequences that the case has.
        edited: whether a person changed the labels, so that the probability maps no longer belong to them.
        task: of the model.
        made_for: the time points that the model was made for; empty when not known.
        review: of the contours.

    Raises:
        InputError: the grids differ, or the brain mask is empty.
    """
    measures = measure(labels, brain, regions, probabilities)
    doubts = implausible(labels, brain, measures, task)
    if time_point.kind is not TimePointKind.POSTOPERATIVE or Region.ET not in regions:
        return CaseAssessment(measures, None, doubts)
    enhancing = None if edited else probabilities.get(Region.ET)
    obstacle = unfit_contours(made_for, time_point.kind, review)
    left = assess_residual(labels, time_point, Modality.T1N in present, enhancing, obstacle)
    return CaseAssessment(measures, left, doubts)
