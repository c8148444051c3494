"""Dice, HD95, sensitivity and precision against known answers and a second implementation."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import RegionScore, evaluate, summarise
from GliomaSegLib.evaluation.surface import hd95_mm
from GliomaSegLib.labels import Label, Region

SPACING = (1.0, 1.5, 4.0)


def image_of(array: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(array.astype(np.uint8))
    image.SetSpacing(SPACING)
    return image


def box(*bounds: tuple[int, int], label: Label = Label.ET) -> np.ndarray:
    labels = np.zeros((12, 30, 30), np.uint8)
    labels[tuple(slice(*bound) for bound in bounds)] = label
    return labels


def test_known_overlap() -> None:
    reference, prediction = box((2, 6), (5, 15), (5, 15)), box((2, 6), (5, 15), (10, 20))
    score = evaluate(image_of(prediction), image_of(reference))[Region.ET]
    assert score.dice == pytest.approx(0.5)
    assert score.sensitivity == pytest.approx(0.5)
    assert score.precision == pytest.approx(0.5)
    assert score.reference_ml == pytest.approx(400 * 6 / 1000)
    assert score.hd95_mm == pytest.approx(5.0)


def test_regions_are_unions_of_labels_without_the_cavity() -> None:
    reference, prediction = box((2, 6), (5, 15), (5, 15)), box((2, 6), (5, 15), (5, 15), label=Label.NETC)
    prediction[8, 2:9, 2:9] = Label.RC
    scores = evaluate(image_of(prediction), image_of(reference), tuple(Region))
    assert (scores[Region.WT].dice, scores[Region.TC].dice, scores[Region.ET].dice) == (1.0, 1.0, 0.0)
    assert (scores[Region.RC].dice, scores[Region.RC].hd95_mm) == (0.0, None)


def test_both_empty_is_perfect_and_one_empty_is_undefined() -> None:
    empty, some = np.zeros((12, 30, 30)), box((2, 6), (5, 15), (5, 15))
    both = evaluate(image_of(empty), image_of(empty))[Region.ET]
    assert (both.dice, both.hd95_mm, both.sensitivity, both.precision) == (1.0, 0.0, None, None)
    missed = evaluate(image_of(empty), image_of(some))[Region.ET]
    assert (missed.dice, missed.hd95_mm, missed.sensitivity, missed.precision) == (0.0, None, 0.0, None)
    invented = evaluate(image_of(some), image_of(empty))[Region.ET]
    assert (invented.dice, invented.hd95_mm, invented.sensitivity, invented.precision) == (0.0, None, None, 0.0)


def simpleitk_hd95(first: np.ndarray, second: np.ndarray) -> float:
    """The same definition from other parts: SimpleITK's label contours and Maurer distance maps."""
    contours = [sitk.LabelContour(image_of(np.pad(mask, 1)), fullyConnected=False) for mask in (first, second)]
    maps = [
        sitk.GetArrayFromImage(sitk.Abs(sitk.SignedMaurerDistanceMap(c, squaredDistance=False, useImageSpacing=True)))
        for c in contours
    ]
    surfaces = [sitk.GetArrayFromImage(contour) > 0 for contour in contours]
    return max(np.percentile(maps[1][surfaces[0]], 95), np.percentile(maps[0][surfaces[1]], 95))


def test_hd95_agrees_with_simpleitk() -> None:
    generator = np.random.default_rng(7)
    for _ in range(5):
        smooth = [
            sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(sitk.GetImageFromArray(noise), 2.0))
            for noise in generator.normal(size=(2, 12, 30, 30))
        ]
        first, second = (
            field > np.quantile(field, quantile) for field, quantile in zip(smooth, (0.9, 0.8), strict=True)
        )
        assert hd95_mm(first, second, SPACING[::-1]) == pytest.approx(simpleitk_hd95(first, second), abs=1e-4)


def test_hd95_of_one_far_voxel_is_left_out_by_the_percentile() -> None:
    reference = box((2, 6), (5, 15), (5, 15)) > 0
    prediction = reference.copy()
    prediction[11, 29, 29] = True
    assert hd95_mm(prediction, reference, SPACING[::-1]) == 0.0


def test_other_grids_are_refused_but_rounding_noise_is_not() -> None:
    reference = image_of(box((2, 6), (5, 15), (5, 15)))
    noisy = sitk.Image(reference)
    noisy.SetOrigin((1e-4, 0.0, -1e-4))
    assert evaluate(noisy, reference)[Region.WT].dice == 1.0
    moved = sitk.Image(reference)
    moved.SetOrigin((1.0, 0.0, 0.0))
    with pytest.raises(InputError, match="different grids"):
        evaluate(moved, reference)
    with pytest.raises(InputError, match=r"12 x 30 x 30|30 x 30 x 12"):
        evaluate(reference[:, :, :5], reference)


def test_summary_counts_what_is_undefined() -> None:
    def case(dice: float, hd95: float | None) -> dict[Region, RegionScore]:
        score = RegionScore(dice=dice, hd95_mm=hd95, sensitivity=dice, precision=None, reference_ml=1, prediction_ml=1)
        return {Region.WT: score}

    rows = summarise([case(0.8, 2.0), case(0.9, 4.0), case(1.0, 9.0), case(0.0, None)])
    by_metric = {row.metric: row for row in rows}
    assert {row.region for row in rows} == {Region.WT}
    assert by_metric["dice"].mean == pytest.approx(0.675)
    assert by_metric["dice"].median == pytest.approx(0.85)
    assert (by_metric["hd95_mm"].cases, by_metric["hd95_mm"].undefined) == (4, 1)
    assert (by_metric["hd95_mm"].lower_quartile, by_metric["hd95_mm"].upper_quartile) == (3.0, 6.5)
    assert (by_metric["precision"].mean, by_metric["precision"].undefined) == (None, 4)
    assert summarise([]) == []
