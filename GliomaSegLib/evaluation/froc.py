"""Detection of lesions: precision-recall and free-response ROC (FROC) curves over lesions, after Shirokikh 2019.

A predicted lesion is a connected component (26 neighbours) of the segmentation; its certainty is the highest
probability in it. It hits a reference lesion, again a connected component, when the two share a voxel (Dice > 0).
Sizes are in voxels, so that nothing here depends on a spacing that may be a placeholder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray
from pydantic import AliasChoices, Field

from GliomaSegLib.errors import InputError
from GliomaSegLib.record import Record

_LEAST_PATIENTS = 5  # for limits
BOOTSTRAPS, BOOTSTRAP_SHARE = 100, 0.8  # share of the patients, drawn without replacement, as in the paper


class ReferenceLesion(Record):
    """A lesion of the reference.

    Attributes:
        certainty: highest certainty of the predicted lesions that hit it; ``None`` if none does.
        dice: Dice with all predicted lesions that hit it together.
    """

    voxels: int
    certainty: float | None
    dice: float


class PredictedLesion(Record):
    """A lesion of the segmentation; ``hits``: positions in :attr:`CaseLesions.reference`, none for a false positive."""

    voxels: int
    certainty: float
    hits: tuple[int, ...]


class CaseLesions(Record):
    """All lesions of one case; older files call those of the reference ``true``."""

    reference: tuple[ReferenceLesion, ...] = Field(validation_alias=AliasChoices("reference", "true"))
    predicted: tuple[PredictedLesion, ...]


class CurvePoint(Record):
    """One point of a curve: what remains when predicted lesions less certain than ``certainty`` are left out.

    Attributes:
        recall: share of the reference lesions that are hit.
        precision: share of the predicted lesions that hit; ``None`` without any.
        false_positives: per case.
        recall_interval, precision_interval: 95 % limits, where they were asked for and are defined.
    """

    certainty: float
    recall: float
    precision: float | None
    false_positives: float
    recall_interval: tuple[float, float] | None = None
    precision_interval: tuple[float, float] | None = None


_NOTHING = CurvePoint(certainty=1.0, recall=0.0, precision=None, false_positives=0.0)  # no lesion is predicted


class LesionCurve(Record):
    """Points from the most certain predicted lesions alone to all of them; none without reference lesions."""

    cases: int
    lesions: int
    points: tuple[CurvePoint, ...]


def match_lesions(
    prediction: NDArray[np.bool_], reference: NDArray[np.bool_], probability: NDArray[np.floating] | None = None
) -> CaseLesions:
    """Match predicted lesions with those of the reference.

    Args:
        prediction, reference: masks ``[z, y, x]``.
        probability: of the same shape, any scale; without it every predicted lesion has certainty 1.

    Raises:
        InputError: the shapes differ.
    """
    shapes = {array.shape for array in (prediction, reference, probability) if array is not None}
    if len(shapes) > 1:
        raise InputError(
            f"Lesions cannot be matched between arrays of shapes {sorted(shapes)}; bring them to one grid."
        )
    predicted, predicted_count = cc3d.connected_components(prediction, connectivity=26, return_N=True)
    drawn, drawn_count = cc3d.connected_components(reference, connectivity=26, return_N=True)
    # overlap[i, j]: voxels that predicted lesion i and reference lesion j share; 0 is the background.
    overlap = np.zeros((predicted_count + 1, drawn_count + 1), np.int64)
    occupied = prediction | reference
    np.add.at(overlap, (predicted[occupied], drawn[occupied]), 1)
    predicted_sizes, drawn_sizes = overlap.sum(axis=1), overlap.sum(axis=0)
    certainty = _highest(probability, predicted, predicted_count)
    return CaseLesions(
        reference=tuple(
            _reference_lesion(int(drawn_sizes[j]), overlap[1:, j], predicted_sizes[1:], certainty)
            for j in range(1, drawn_count + 1)
        ),
        predicted=tuple(
            PredictedLesion(
                voxels=int(predicted_sizes[i]),
                certainty=float(certainty[i - 1]),
                hits=tuple(np.flatnonzero(overlap[i, 1:]).tolist()),
            )
            for i in range(1, predicted_count + 1)
        ),
    )


def _highest(probability: NDArray[np.floating] | None, components: NDArray[np.integer], count: int) -> NDArray:
    """The highest probability in each component, 1 without a map."""
    highest = np.ones(count) if probability is None else np.full(count, -np.inf)
    if probability is not None and count:
        inside = components > 0
        np.maximum.at(highest, components[inside].astype(np.int64) - 1, probability[inside])
    return highest


def _reference_lesion(voxels: int, shared: NDArray, sizes: NDArray, certainty: NDArray) -> ReferenceLesion:
    hitting = shared > 0
    return ReferenceLesion(
        voxels=voxels,
        certainty=float(certainty[hitting].max()) if hitting.any() else None,
        dice=2 * int(shared.sum()) / (voxels + int(sizes[hitting].sum())),
    )


def lesion_curve(cases: Sequence[CaseLesions], smaller_than_voxels: int | None = None) -> LesionCurve:
    """Precision-recall and FROC over the lesions of all cases together.

    Args:
        smaller_than_voxels: only reference lesions below this size count; predicted lesions that hit none but larger
            ones are neither true nor false positives.
    """
    limit = np.inf if smaller_than_voxels is None else smaller_than_voxels
    sought = [lesion for case in cases for lesion in case.reference if lesion.voxels < limit]
    counted = [(lesion.certainty, bool(hits)) for case in cases for lesion, hits in _counted(case, limit)]
    # A predicted lesion may hit several reference lesions, so that recall is counted over these, not over hits.
    return LesionCurve(cases=len(cases), lesions=len(sought), points=_points(sought, counted, len(cases)))


def with_intervals(
    curve: LesionCurve,
    cases: Sequence[CaseLesions],
    patients: Sequence[str],
    random: np.random.Generator,
    smaller_than_voxels: int | None = None,
) -> LesionCurve:
    """The curve of ``cases`` with 95 % limits at each of its points: those of the curves of 80 % of the patients with
    all their cases, drawn 100 times without replacement as in the paper (narrower than a full bootstrap), at the same
    certainty. Without limits for fewer than five patients.

    Args:
        patients: of each case.
    """
    cases_of: dict[str, list[CaseLesions]] = {}
    for patient, case in zip(patients, cases, strict=True):
        cases_of.setdefault(patient, []).append(case)
    if len(cases_of) < _LEAST_PATIENTS:
        return curve
    by_patient = list(cases_of.values())
    found: dict[float, list[CurvePoint]] = {point.certainty: [] for point in curve.points}
    for _ in range(BOOTSTRAPS):
        drawn = random.choice(len(by_patient), round(BOOTSTRAP_SHARE * len(by_patient)), replace=False)
        one = lesion_curve([case for i in drawn for case in by_patient[i]], smaller_than_voxels)
        for point in curve.points:
            # A drawn curve has no point at a certainty that none of its lesions has; the next higher one is the same.
            at = next((own for own in reversed(one.points) if own.certainty >= point.certainty), None)
            if at is not None:
                found[point.certainty].append(at)
            elif one.lesions:
                found[point.certainty].append(_NOTHING)
    return curve.model_copy(update={"points": tuple(_limited(point, found[point.certainty]) for point in curve.points)})


def _limited(point: CurvePoint, drawn: Sequence[CurvePoint]) -> CurvePoint:
    precisions = [one.precision for one in drawn if one.precision is not None]
    limits = {
        "recall_interval": _middle_95(one.recall for one in drawn) if drawn else None,
        "precision_interval": _middle_95(precisions) if precisions else None,
    }
    return point.model_copy(update=limits)


def _counted(case: CaseLesions, limit: float) -> list[tuple[PredictedLesion, list[int]]]:
    """The predicted lesions that count, each with the reference lesions below the size limit that it hits."""
    counted = []
    for lesion in case.predicted:
        small = [hit for hit in lesion.hits if case.reference[hit].voxels < limit]
        if small or not lesion.hits:
            counted.append((lesion, small))
    return counted


def _points(
    sought: Sequence[ReferenceLesion], counted: Sequence[tuple[float, bool]], cases: int
) -> tuple[CurvePoint, ...]:
    """One point per certainty of a predicted lesion; ``counted`` holds certainties and whether they are hits."""
    if not sought:
        return ()
    points = []
    for threshold in sorted({certainty for certainty, _ in counted}, reverse=True):
        kept = [hit for certainty, hit in counted if certainty >= threshold]
        recalled = sum(lesion.certainty is not None and lesion.certainty >= threshold for lesion in sought)
        points.append(
            CurvePoint(
                certainty=threshold,
                recall=recalled / len(sought),
                precision=sum(kept) / len(kept),
                false_positives=(len(kept) - sum(kept)) / cases,
            )
        )
    return tuple(points) or (_NOTHING,)


def _middle_95(values: Iterable[float]) -> tuple[float, float]:
    lower, upper = np.percentile(list(values), (2.5, 97.5)).tolist()
    return lower, upper
