"""All that is measured of one segmented case: volumes and lesions, residual tumour after surgery, nonsense."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.plausibility import implausible
from GliomaSegLib.measures.resection import ResidualAnswer, assess_residual
from GliomaSegLib.measures.volumes import Measures, measure
from GliomaSegLib.options import Task


@dataclass(frozen=True)
class CaseAssessment:
    """The measures of a case, and what of it is implausible, a sentence each.

    ``residual`` is ``None`` unless the study was made after surgery and ET determined.
    """

    measures: Measures
    residual: ResidualAnswer | None = None
    implausible: tuple[str, ...] = ()


def assess_case(
    labels: sitk.Image,
    brain: sitk.Image,
    regions: Collection[Region],
    probabilities: Mapping[Region, sitk.Image],
    time_point: TimePoint,
    present: Collection[Modality],
    edited: bool = False,
    task: Task | str | None = None,
) -> CaseAssessment:
    """Measure an internal label map; the images are those of :func:`~GliomaSegLib.measures.volumes.measure`.

    Args:
        present: the sequences that the case has.
        edited: whether a person changed the labels, so that the probability maps no longer belong to them.

        task: of the model.

    Raises:
        InputError: the grids differ, or the brain mask is empty.
    """
    measures = measure(labels, brain, regions, probabilities)
    doubts = implausible(labels, brain, measures, task)
    if time_point.kind is not TimePointKind.POSTOPERATIVE or Region.ET not in regions:
        return CaseAssessment(measures, None, doubts)
    enhancing = None if edited else probabilities.get(Region.ET)
    left = assess_residual(labels, time_point, Modality.T1N in present, enhancing)
    return CaseAssessment(measures, left, doubts)
