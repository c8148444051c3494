"""All that is measured of one segmented case: volumes and lesions, and after surgery the residual tumour."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import SimpleITK as sitk

from GliomaSegLib.case import Modality, TimePoint, TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.measures.resection import ResidualAnswer, assess_residual
from GliomaSegLib.measures.volumes import Measures, measure


@dataclass(frozen=True)
class CaseAssessment:
    """The measures of a case; ``residual`` is ``None`` unless the study was made after surgery and ET determined."""

    measures: Measures
    residual: ResidualAnswer | None = None


def assess_case(
    labels: sitk.Image,
    brain: sitk.Image,
    regions: Collection[Region],
    probabilities: Mapping[Region, sitk.Image],
    time_point: TimePoint,
    present: Collection[Modality],
    edited: bool = False,
) -> CaseAssessment:
    """Measure an internal label map; the images are those of :func:`~GliomaSegLib.measures.volumes.measure`.

    Args:
        present: the sequences that the case has.
        edited: whether a person changed the labels, so that the probability maps no longer belong to them.

    Raises:
        InputError: the grids differ, or the brain mask is empty.
    """
    measures = measure(labels, brain, regions, probabilities)
    if time_point.kind is not TimePointKind.POSTOPERATIVE or Region.ET not in regions:
        return CaseAssessment(measures)
    enhancing = None if edited else probabilities.get(Region.ET)
    return CaseAssessment(measures, assess_residual(labels, time_point, Modality.T1N in present, enhancing))
