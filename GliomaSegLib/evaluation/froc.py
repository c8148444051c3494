"""Lesion by lesion: which were found, and how sure the network was (Shirokikh 2019, after FROC).

A predicted lesion is a connected component (26 neighbours) of the segmentation; its certainty is the highest
probability in it. It hits a true lesion, again a connected component, when the two share a voxel (Dice > 0). Sizes are
in voxels, so that nothing here depends on a spacing that may be a placeholder.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cc3d
import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.record import Record

BOOTSTRAPS, BOOTSTRAP_SHARE = 100, 0.8  # of the cases, drawn without putting back, as in the paper


class TrueLesion(Record):
    """``certainty`` of the surest predicted lesion that hits it, ``None`` if none does; ``dice`` with all that do."""

    voxels: int
    certainty: float | None
    dice: float


class PredictedLesion(Record):
    """``hits``: positions in :attr:`CaseLesions.true`; empty for a false positive."""

    voxels: int
    certainty: float
    hits: tuple[int, ...]


class CaseLesions(Record):
    """All lesions of one case."""

    true: tuple[TrueLesion, ...]
    predicted: tuple[PredictedLesion, ...]


class Point(Record):
    """One point of a curve: what remains when predicted lesions less sure than ``certainty`` are struck out.

    Attributes:
        recall: share of the true lesions that are hit.
        precision: share of the predicted lesions that hit; ``None`` without any.
        false_positives: per case.
    """

    certainty: float
    recall: float
    precision: float | None
    false_positives: float


class Curve(Record):
    """From the surest predicted lesions alone to all of them; without true lesions there is no curve."""

    cases: int
    lesions: int
    points: tuple[Point, ...]


def match_lesions(
    prediction: NDArray[np.bool_], truth: NDArray[np.bool_], probability: NDArray[np.floating] | None = None
) -> CaseLesions:
    """Match predicted with true lesions.

    Args:
        prediction, truth: masks ``[z, y, x]``.
        probability: of the same shape, any scale; without it every predicted lesion has certainty 1.

    Raises:
        InputError: the shapes differ.
    """
    shapes = {array.shape for array in (prediction, truth, probability) if array is not None}
    if len(shapes) > 1:
        raise InputError(
            f"Lesions cannot be matched between arrays of shapes {sorted(shapes)}; bring them to one grid."
        )
    predicted, found = cc3d.connected_components(prediction, connectivity=26, return_N=True)
    true, there = cc3d.connected_components(truth, connectivity=26, return_N=True)
    # overlap[i, j]: voxels that predicted lesion i and true lesion j share; 0 is the background.
    overlap = np.zeros((found + 1, there + 1), np.int64)
    np.add.at(overlap, (predicted[prediction | truth], true[prediction | truth]), 1)
    sizes_found, sizes_true = overlap.sum(axis=1), overlap.sum(axis=0)
    certainty = _highest(probability, predicted, found)
    return CaseLesions(
        true=tuple(
            _true_lesion(int(sizes_true[j]), overlap[1:, j], sizes_found[1:], certainty) for j in range(1, there + 1)
        ),
        predicted=tuple(
            PredictedLesion(
                voxels=int(sizes_found[i]),
                certainty=float(certainty[i - 1]),
                hits=tuple(np.flatnonzero(overlap[i, 1:]).tolist()),
            )
            for i in range(1, found + 1)
        ),
    )


def _highest(probability: NDArray[np.floating] | None, components: NDArray[np.integer], count: int) -> NDArray:
    highest = np.ones(count) if probability is None else np.full(count, -np.inf)
    if probability is not None and count:
        inside = components > 0
        np.maximum.at(highest, components[inside].astype(np.int64) - 1, probability[inside])
    return highest


def _true_lesion(voxels: int, shared: NDArray, sizes: NDArray, certainty: NDArray) -> TrueLesion:
    hitting = shared > 0
    return TrueLesion(
        voxels=voxels,
        certainty=float(certainty[hitting].max()) if hitting.any() else None,
        dice=2 * int(shared.sum()) / (voxels + int(sizes[hitting].sum())),
    )


def curve(cases: Sequence[CaseLesions], smaller_than_voxels: int | None = None) -> Curve:
    """Precision-recall and FROC over the lesions of all cases together.

    Args:
        smaller_than_voxels: only true lesions below this size are sought; predicted ones that hit larger lesions
            alone count neither for nor against.
    """
    limit = np.inf if smaller_than_voxels is None else smaller_than_voxels
    sought = [lesion for case in cases for lesion in case.true if lesion.voxels < limit]
    counted = [(lesion.certainty, bool(hits)) for case in cases for lesion, hits in _counted(case, limit)]
    # A predicted lesion may hit several true ones, so that recall is counted over these, not over hits.
    return Curve(cases=len(cases), lesions=len(sought), points=_points(sought, counted, len(cases)))


def _counted(case: CaseLesions, limit: float) -> list[tuple[PredictedLesion, list[int]]]:
    counted = []
    for lesion in case.predicted:
        small = [hit for hit in lesion.hits if case.true[hit].voxels < limit]
        if small or not lesion.hits:
            counted.append((lesion, small))
    return counted


def _points(sought: Sequence[TrueLesion], counted: Sequence[tuple[float, bool]], cases: int) -> tuple[Point, ...]:
    if not sought:
        return ()
    points = []
    for threshold in sorted({certainty for certainty, _ in counted}, reverse=True):
        kept = [hit for certainty, hit in counted if certainty >= threshold]
        recalled = sum(lesion.certainty is not None and lesion.certainty >= threshold for lesion in sought)
        points.append(
            Point(
                certainty=threshold,
                recall=recalled / len(sought),
                precision=sum(kept) / len(kept),
                false_positives=(len(kept) - sum(kept)) / cases,
            )
        )
    return tuple(points) or (Point(certainty=1.0, recall=0.0, precision=None, false_positives=0.0),)


class Interval(Record):
    """95 % limits of the final point of a curve, all predicted lesions counted."""

    recall: tuple[float, float]
    precision: tuple[float, float] | None


def bootstrapped(
    cases: Sequence[CaseLesions], random: np.random.Generator, smaller_than_voxels: int | None = None
) -> Interval | None:
    """Limits from curves of 80 % of the cases, drawn 100 times; ``None`` for fewer than five cases or no lesion.

    As in the paper, draws are without putting back, which gives narrower limits than a full bootstrap.
    """
    size = round(BOOTSTRAP_SHARE * len(cases))
    if len(cases) < 5:
        return None
    draws = [random.choice(len(cases), size, replace=False) for _ in range(BOOTSTRAPS)]
    curves = [curve([cases[i] for i in draw], smaller_than_voxels) for draw in draws]
    last = [one.points[-1] for one in curves if one.points]
    if not last:
        return None
    precisions = [point.precision for point in last if point.precision is not None]
    return Interval(
        recall=_middle_95(point.recall for point in last), precision=_middle_95(precisions) if precisions else None
    )


def _middle_95(values: Iterable[float]) -> tuple[float, float]:
    lower, upper = np.percentile(list(values), (2.5, 97.5)).tolist()
    return lower, upper
