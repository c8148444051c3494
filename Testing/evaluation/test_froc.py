"""Tests with lesions counted by hand, and against MONAI's FROC."""

from __future__ import annotations

import numpy as np
import pytest
from monai.metrics import compute_froc_curve_data
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.froc import (
    CaseLesions,
    lesion_curve,
    match_lesions,
    with_intervals,
)

Mask = NDArray[np.bool_]


def boxes(*places: tuple[slice, slice, slice]) -> Mask:
    """A mask of 12 x 12 x 12 voxels with boxes in it."""
    mask = np.zeros((12, 12, 12), bool)
    for place in places:
        mask[place] = True
    return mask


def cube(first: int, last: int) -> tuple[slice, slice, slice]:
    return (slice(first, last),) * 3


@pytest.fixture
def case() -> CaseLesions:
    """Reference: 27 voxels found half (certainty .9), 8 voxels missed. Predicted besides: one voxel of nothing (.6)."""
    reference_labels = boxes(cube(0, 3), cube(8, 10))
    prediction = boxes((slice(0, 3), slice(0, 3), slice(0, 2)), cube(5, 6))
    probability = np.where(prediction, 0.5, 0.1)
    probability[1, 1, 1], probability[5, 5, 5] = 0.9, 0.6
    return match_lesions(prediction, reference_labels, probability)


def test_lesions_are_matched(case: CaseLesions) -> None:
    found, missed = case.reference
    assert (found.voxels, found.certainty) == (27, 0.9)
    assert found.dice == pytest.approx(2 * 18 / (27 + 18))
    assert (missed.voxels, missed.certainty, missed.dice) == (8, None, 0.0)
    assert [(lesion.voxels, lesion.certainty, lesion.hits) for lesion in case.predicted] == [
        (18, 0.9, (0,)),
        (1, 0.6, ()),
    ]


def test_one_prediction_may_hit_two_lesions() -> None:
    reference_labels = boxes(cube(0, 2), cube(4, 6))
    found = match_lesions(boxes(cube(0, 6)), reference_labels)
    assert found.predicted[0].hits == (0, 1)
    assert [lesion.certainty for lesion in found.reference] == [1.0, 1.0]
    points = lesion_curve([found]).points
    assert (points[-1].recall, points[-1].precision) == (1.0, 1.0)


def test_corners_connect() -> None:
    assert len(match_lesions(boxes(cube(0, 2), cube(2, 4)), boxes()).predicted) == 1


def test_nothing_predicted_and_nothing_there(case: CaseLesions) -> None:
    empty = match_lesions(boxes(), boxes())
    assert empty == CaseLesions(reference=(), predicted=())
    assert lesion_curve([empty]).points == ()
    silent = match_lesions(boxes(), boxes(cube(0, 2)))
    assert lesion_curve([silent]).points[-1].model_dump() == {
        "certainty": 1.0, "recall": 0.0, "precision": None, "false_positives": 0.0,
        "recall_interval": None, "precision_interval": None,
    }  # fmt: skip


def test_curve_by_hand(case: CaseLesions) -> None:
    sure, all_of_them = lesion_curve([case]).points
    assert (sure.certainty, sure.recall, sure.precision, sure.false_positives) == (0.9, 0.5, 1.0, 0.0)
    assert (all_of_them.certainty, all_of_them.recall, all_of_them.precision) == (0.6, 0.5, 0.5)
    assert all_of_them.false_positives == 1.0
    assert lesion_curve([case, case]).points[-1].false_positives == 1.0  # per case


def test_small_lesions_apart(case: CaseLesions) -> None:
    """The prediction that hits the large lesion alone counts neither way; the false one does."""
    small = lesion_curve([case], smaller_than_voxels=27)
    assert small.lesions == 1
    assert [(point.recall, point.precision) for point in small.points] == [(0.0, 0.0)]


def test_shapes_must_agree() -> None:
    with pytest.raises(InputError, match="one grid"):
        match_lesions(boxes(), np.zeros((3, 3, 3), bool))


def test_froc_agrees_with_monai() -> None:
    """Where each prediction hits one lesion at most, both count alike."""
    random = np.random.default_rng(1)
    cases, false, true, lesions = [], [], [], 0
    for _ in range(6):
        reference_labels, prediction, probability = boxes(), boxes(), np.zeros((12, 12, 12))
        for z, y, x in np.ndindex(3, 3, 3):
            place = tuple(slice(4 * i, 4 * i + 2) for i in (z, y, x))
            there, found = random.random(2) < 0.5
            certainty = round(float(random.random()), 3)
            reference_labels[place], prediction[place] = there, found
            probability[place] = certainty
            lesions += there
            if found:
                (true if there else false).append(certainty)
        cases.append(match_lesions(prediction, reference_labels, probability))
    per_image, sensitivity = compute_froc_curve_data(np.array(false), np.array(true), lesions, len(cases))
    points = lesion_curve(cases).points
    # MONAI leaves out the last threshold, at which everything counts.
    assert points[-1].recall == len(true) / lesions
    assert points[-1].false_positives == len(false) / len(cases)
    theirs = {(round(float(x), 6), round(float(y), 6)) for x, y in zip(per_image, sensitivity, strict=True)}
    assert {(round(point.false_positives, 6), round(point.recall, 6)) for point in points[:-1]} <= theirs
    assert len(points) > 30


def test_limits_run_along_the_curve_and_end_with_those_of_its_end() -> None:
    random = np.random.default_rng(3)
    cases = []
    for _ in range(10):
        reference_labels, prediction, probability = boxes(), boxes(), np.zeros((12, 12, 12))
        for z, y, x in np.ndindex(3, 3, 3):
            place = tuple(slice(4 * i, 4 * i + 2) for i in (z, y, x))
            reference_labels[place], prediction[place] = random.random(2) < (0.4, 0.5)
            probability[place] = round(float(random.random()), 1)
        cases.append(match_lesions(prediction, reference_labels, probability))
    plain = lesion_curve(cases)
    patients = [str(number) for number in range(10)]
    curve = with_intervals(plain, cases, patients, np.random.default_rng(0))
    assert [point.recall for point in curve.points] == [point.recall for point in plain.points]
    for point in curve.points:
        assert point.recall_interval[0] <= point.recall <= point.recall_interval[1]
        assert point.precision_interval[0] <= point.precision <= point.precision_interval[1]
    lows = [point.recall_interval[0] for point in curve.points]
    assert lows == sorted(lows), "as recall, its limits rise along the curve"
    assert curve == with_intervals(plain, cases, patients, np.random.default_rng(0))
    few = with_intervals(plain, cases, [*"aaaaaabccd"], np.random.default_rng(0))
    assert few == plain, "ten cases of four patients are too few for limits"


def test_limits_are_those_of_patients_not_of_their_cases() -> None:
    mask, nothing = boxes(), boxes()
    mask[:2, :2, :2] = True
    found, missed = match_lesions(mask, mask), match_lesions(nothing, mask)
    once, patients = [found, missed] * 5, [str(number) for number in range(10)]
    few, many = (
        with_intervals(lesion_curve(cases), cases, own, np.random.default_rng(0)).points[-1].recall_interval
        for cases, own in ((once, patients), (once * 4, patients * 4))
    )
    assert few == many, "four equal scans of each patient say no more than one"
    assert many[1] - many[0] > 0.1
