"""Implausible masks are distinguished from tumours; what lies outside the brain is cut where no tumour can be."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from GliomaSegLib.io.grid import array_on
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.plausibility import implausible, outside_brain, without_outside
from GliomaSegLib.measures.volumes import measure
from GliomaSegLib.options import Task
from Testing.support.time_points import Shape, ball, labels_of, rim

GRID = {"size_mm": (200.0, 200.0, 150.0), "spacing": (2.0, 2.0, 2.0)}
BRAIN = labels_of((ball((0, 0, 0), 68), Label.ET), **GRID)
NEAR = labels_of((ball((0, 0, 0), 75), Label.ET), **GRID)  # 5 mm, and what the voxels add
HEAD = labels_of((ball((0, 0, 0), 82), Label.SNFH), **GRID)
GLIOMA = Task.PREOPERATIVE_GLIOMA


def doubts(*drawn: tuple[Shape, Label], brain: sitk.Image | None = BRAIN, task: Task = GLIOMA) -> tuple[str, ...]:
    labels = labels_of(*drawn, **GRID)
    return implausible(labels, brain, measure(labels, brain), task)


@pytest.mark.parametrize("radius", [10, 30, 39])  # the largest has 248 mL
def test_a_tumour_is_plausible(radius: float) -> None:
    assert doubts((ball((20, 0, 0), radius), Label.SNFH), (ball((20, 0, 0), radius / 2), Label.ET)) == ()


def test_a_tumour_as_large_as_the_head_is_not() -> None:
    (sentence,) = doubts((ball((0, 0, 0), 67), Label.SNFH))
    assert sentence.startswith("Implausible: WT 1258 mL, 96 % of the brain; above 500 mL or 40 % of the brain")
    enhancing = doubts((ball((0, 0, 0), 45), Label.ET))
    assert [one.split()[1] for one in enhancing] == ["TC", "ET"]


def test_a_small_brain_has_a_smaller_limit() -> None:
    brain = labels_of((ball((0, 0, 0), 40), Label.ET), **GRID)
    (sentence,) = doubts((ball((0, 0, 0), 32), Label.SNFH), brain=brain)
    assert "WT 137 mL, 51 % of the brain" in sentence


def test_a_rim_around_the_brain_is_a_failed_extraction_but_for_a_meningioma() -> None:
    shell = (rim((0, 0, 0), 68, 3), Label.SNFH)
    assert any("within 3 mm of the brain's surface" in one for one in doubts(shell))
    assert not any("surface" in one for one in doubts(shell, task=Task.MENINGIOMA))


def test_what_lies_on_the_border_of_the_image_is_no_tumour() -> None:
    def wall(points: np.ndarray) -> np.ndarray:
        return points[:, 0] > 97

    (sentence,) = doubts((wall, Label.SNFH), task=Task.MENINGIOMA)
    assert sentence == "Implausible: 100 % of the whole tumour lie on the border of the image."
    assert doubts((ball((60, 0, 0), 41), Label.SNFH), task=Task.MENINGIOMA) == ()  # cut off, but a tumour


@pytest.mark.parametrize("task", Task)
def test_labels_outside_the_brain_are_cut_where_no_tumour_can_be(task: Task) -> None:
    extra_axial = (Task.MENINGIOMA, Task.SCHWANNOMA, Task.RESECTION_CAVITY, Task.BRAIN_EXTRACTION)
    kept = without_outside(HEAD, outside_brain(BRAIN, task))
    outside = sitk.GetArrayViewFromImage(NEAR) == 0
    assert bool(sitk.GetArrayViewFromImage(kept)[outside].any()) is (task in extra_axial)
    inside = sitk.GetArrayViewFromImage(BRAIN) != 0
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(kept)[inside], Label.SNFH)


def test_a_hole_in_the_brain_mask_and_a_cavity_that_is_open_to_the_outside_stay() -> None:
    hollow = labels_of((rim((0, 0, 0), 68, 30), Label.ET), **GRID)
    tumour = labels_of((ball((0, 0, 0), 20), Label.ET), (ball((68, 0, 0), 10), Label.RC), **GRID)
    kept = without_outside(tumour, outside_brain(hollow, Task.POSTOPERATIVE_GLIOMA))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(kept), sitk.GetArrayViewFromImage(tumour))


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.0, 1.0, 6.0)])
def test_the_cut_keeps_a_margin_of_5_mm_and_a_slice(spacing: tuple[float, float, float]) -> None:
    grid = {"size_mm": (100.0, 100.0, 108.0), "spacing": spacing}
    brain = labels_of((ball((0, 0, 0), 30), Label.ET), **grid)
    beside = labels_of((ball((32, 0, 0), 2.4), Label.ET), (ball((0, 0, 32), 2.4), Label.ET), **grid)
    kept = without_outside(beside, outside_brain(brain, GLIOMA))
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(kept), sitk.GetArrayViewFromImage(beside))
    scalp = labels_of((ball((44, 0, 0), 3), Label.ET), (ball((0, 0, 46), 3.5), Label.ET), **grid)
    assert not sitk.GetArrayViewFromImage(without_outside(scalp, outside_brain(brain, GLIOMA))).any()


def test_probabilities_outside_the_brain_are_nothing() -> None:
    likely = sitk.Cast(HEAD, sitk.sitkFloat32) / 4
    kept = without_outside(likely, outside_brain(BRAIN, GLIOMA))
    assert sitk.GetArrayViewFromImage(kept)[sitk.GetArrayViewFromImage(NEAR) == 0].max() == 0
    assert measure(HEAD, BRAIN, probabilities={Region.WT: kept}).lesions[0].certainty == 0.5


def test_an_empty_mask_cuts_nothing() -> None:
    assert outside_brain(BRAIN * 0, GLIOMA) is None


@pytest.mark.parametrize(
    "spacing", [(1.0, 1.0, 1.0), pytest.param((0.5, 0.5, 0.5), marks=pytest.mark.slow), (0.9, 0.9, 5.5)]
)
def test_the_surface_is_measured_in_the_tumours_box_as_in_the_whole_image(spacing: tuple[float, ...]) -> None:
    drawn = {"size_mm": (80.0, 80.0, 88.0), "spacing": spacing}
    whole = labels_of((ball((28, 0, 0), 18), Label.SNFH), **drawn)
    for radius in range(20, 39):
        brain = labels_of((ball((0, 0, 0), radius), Label.ET), **drawn)
        inside = np.pad(sitk.GetArrayFromImage(brain) != 0, 1)
        depth_mm = ndimage.distance_transform_edt(inside, spacing[::-1])[1:-1, 1:-1, 1:-1]
        expected = (depth_mm[sitk.GetArrayFromImage(whole) != 0] <= 3).mean()
        found = [one for one in implausible(whole, brain, measure(whole, brain), GLIOMA) if "brain's surface" in one]
        assert bool(found) == (expected > 0.5)
        assert all(f" {100 * expected:.0f} % " in one for one in found)


@pytest.mark.parametrize("around", [0, 3])
def test_holes_of_the_brain_mask_are_inside_it_and_bays_are_not(around: int) -> None:
    mask = np.pad(np.random.default_rng(0).random((30, 40, 50)) < 0.7, around)
    brain = array_on(mask.astype(np.uint8), sitk.Image(mask.shape[::-1], sitk.sitkUInt8))
    brain.SetSpacing((9.0, 9.0, 9.0))  # so that the margin is less than a voxel
    outside = outside_brain(brain, GLIOMA)
    assert np.array_equal(outside, ~ndimage.binary_dilation(ndimage.binary_fill_holes(mask)))
