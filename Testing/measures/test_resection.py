"""Residual tumour and extent of resection against volumes that were counted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import TimePoint, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_size import digitisation_error
from GliomaSegLib.measures.resection import (
    Finding,
    assess_resection,
    extent_of_resection,
    resection_class,
    residual,
)
from GliomaSegLib.options import Surgery

ALL = frozenset(Region)
EARLY = TimePoint(TimePointKind.POSTOPERATIVE, 2)
BEFORE = {Region.ET: 8.0, Region.TC: 10.0, Region.WT: 30.0}


def image_of(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


def after(enhancing: int, edema: int = 0, cavity: int = 0, specks: int = 0) -> sitk.Image:
    """So many voxels of 1 mm³ of each, every kind in one piece; ``specks`` single voxels of ET besides."""
    array = np.zeros((40, 60, 60), np.uint8)
    for label, count, plane in ((Label.ET, enhancing, 2), (Label.SNFH, edema, 10), (Label.RC, cavity, 25)):
        array[plane : plane + 8].reshape(-1)[:count] = label
    for number in range(specks):
        array[38, 2 + 3 * number, 5] = Label.ET
    return image_of(array)


def assessed(labels: sitk.Image, time_point: TimePoint = EARLY, **changes: object):
    given = {"before": BEFORE, "regions": ALL, "has_native_t1": True} | changes
    return assess_resection(given["before"], labels, given["regions"], time_point, given["has_native_t1"])


@pytest.mark.parametrize(("voxels", "finding"), [(174, Finding.GROSS_TOTAL), (175, Finding.RESIDUAL)])
def test_the_limit_of_gross_total_resection_is_175_microlitres(voxels: int, finding: Finding) -> None:
    found = assessed(after(voxels))
    assert found.finding is finding
    assert found.residual.volume_ml == pytest.approx(voxels / 1000)
    assert found.residual.above_limit_ml == pytest.approx(voxels / 1000 - 0.175)
    assert found.answer.lower().startswith(f"{found.finding.value}: ")


def test_the_limit_of_gross_total_resection_holds_for_spacings_that_the_file_rounds() -> None:
    """250 voxels of 0.7 mm³ are 175 mm³; NIfTI stores the spacing as ``float32``, 0.699999988 mm."""
    labels = after(250)
    labels.SetSpacing((1.0, 1.0, float(np.float32(0.7))))
    assert assessed(labels).finding is Finding.RESIDUAL


def test_specks_are_not_counted_and_their_size_is_reported() -> None:
    labels = after(300, specks=4)
    left = residual(labels)
    assert (left.voxels, left.removed_objects, left.removed_ml) == (300, 4, pytest.approx(0.004))
    assert any("4 enhancing specks of less than 20 mm³" in note for note in assessed(labels).notes)


def test_19_mm3_are_a_speck_on_every_grid_and_20_mm3_are_a_lesion_also_when_they_touch_by_a_corner() -> None:
    array = np.zeros((30, 30, 30), np.uint8)
    for step in range(20):
        array[step, step, step] = Label.ET
    assert residual(image_of(array)).voxels == 20
    assert residual(image_of(array, (0.5, 1.0, 1.0))).voxels == 0
    array[0, 0, 0] = 0
    assert residual(image_of(array)).voxels == 0
    array[4:] = 0  # three voxels are left
    assert residual(image_of(array, (1.0, 1.0, 6.0))).voxels == 0
    assert residual(image_of(array, (1.0, 1.0, 7.0))).volume_ml == pytest.approx(0.021)


def test_extent_of_enhancing_tumour_and_of_the_core() -> None:
    labels = after(400)
    array = sitk.GetArrayFromImage(labels)
    array[30, :10, :10] = Label.NETC
    found = assessed(image_of(array))
    assert {one.region: one.fraction for one in found.extents} == pytest.approx(
        {Region.ET: (8.0 - 0.4) / 8.0, Region.TC: (10.0 - 0.5) / 10.0}
    )
    assert found.extents[0].removed_ml == pytest.approx(7.6)


@pytest.mark.parametrize(("after_ml", "percent"), [(0.0, 100.0), (0.02, 99.9), (30.0, 50.0), (90.0, -50.0)])
def test_an_extent_of_100_percent_is_said_of_nothing_left_alone(after_ml: float, percent: float) -> None:
    assert extent_of_resection(Region.ET, 60.0, after_ml).percent == percent


def test_growth_is_a_negative_extent_and_is_said() -> None:
    found = assessed(after(9000))
    assert found.extents[0].fraction == pytest.approx(-0.125)
    assert "There is more enhancing tumour than before surgery." in found.notes


def test_nothing_before_surgery_is_refused() -> None:
    with pytest.raises(InputError, match="no enhancing tumour before surgery"):
        extent_of_resection(Region.ET, 0.0, 0.1)
    with pytest.raises(InputError, match="no enhancing tumour before surgery"):
        assessed(after(300), before={Region.ET: 0.0})
    found = assessed(after(300), before={Region.ET: 0.0, Region.TC: 4.0})
    assert [one.region for one in found.extents] == [Region.TC]
    assert found.rano is None
    assert any("Of the enhancing tumour there was none before surgery" in note for note in found.notes)


@pytest.mark.parametrize(
    ("days", "finding"), [(3, Finding.RESIDUAL), (3.1, Finding.LATE), (90, Finding.LATE), (None, Finding.UNDATED)]
)
def test_residual_tumour_is_said_within_72_hours_alone(days: float | None, finding: Finding) -> None:
    found = assessed(after(400), TimePoint(TimePointKind.POSTOPERATIVE, days))
    assert found.finding is finding
    early = finding is Finding.RESIDUAL
    assert ("Residual" in found.answer) == early
    assert (found.rano is not None) == early
    if finding is Finding.LATE:
        assert "may be treatment effect" in found.answer
        assert "gross total" not in assessed(after(0), TimePoint(TimePointKind.POSTOPERATIVE, days)).answer


def test_the_two_studies_swapped_are_refused() -> None:
    with pytest.raises(InputError, match="order of the two studies"):
        assessed(after(300), TimePoint(TimePointKind.PREOPERATIVE))


@pytest.mark.parametrize("which", ["pre", "post"])
def test_without_enhancing_tumour_distinguished_nothing_is_assessed(which: str) -> None:
    changes = {"before": {Region.WT: 3.0}} if which == "pre" else {"regions": frozenset({Region.WT})}
    with pytest.raises(InputError, match=f"The {which}-operative study does not tell"):
        assessed(after(300), **changes)


@pytest.mark.parametrize(
    ("left", "other", "number"),
    [(0, 5.0, "1"), (0, 5.1, "2A"), (0, None, "1 or 2A"), (1.0, 0, "2B"), (1.1, 0, "3A"), (5.1, 0, "3B")],
)
def test_classes_of_the_rano_resect_group(left: float, other: float | None, number: str) -> None:
    assert resection_class(extent_of_resection(Region.ET, 8.0, left), other).number == number


def test_a_biopsy_is_said_by_the_user_alone() -> None:
    same = extent_of_resection(Region.ET, 8.0, 8.0)
    assert resection_class(same, 0) is None
    assert resection_class(same, 0, Surgery.RESECTION) is None
    assert resection_class(same, 0, Surgery.BIOPSY).number == "4"
    assert resection_class(extent_of_resection(Region.ET, 8.0, 7.0), 0, Surgery.BIOPSY).number == "4"
    found = assessed(after(9000))
    assert found.rano is None
    assert any("not stated that the operation was a biopsy" in note for note in found.notes)


def test_what_cannot_be_judged_has_a_volume_and_no_finding() -> None:
    found = assess_resection(BEFORE, after(100), ALL, EARLY, True, obstacle="the model was not made for it")
    assert (found.finding, found.rano) == (Finding.NOT_JUDGED, None)
    assert found.answer.startswith("Residual tumour is not judged, because the model was not made for it")
    assert "gross total" not in found.answer


def test_the_class_counts_edema_and_not_the_cavity_as_what_is_left() -> None:
    assert assessed(after(0, edema=4000, cavity=9000)).rano.number == "1"
    assert assessed(after(0, edema=5200, cavity=0)).rano.number == "2A"
    assert assessed(after(0, edema=5200), regions=frozenset({Region.ET})).rano.number == "1 or 2A"


@pytest.mark.parametrize(("has", "words"), [(False, "There is no T1"), (None, "It is not known"), (True, None)])
def test_without_t1_blood_cannot_be_distinguished_from_tumour(has: bool | None, words: str | None) -> None:
    notes = [note for note in assessed(after(300), has_native_t1=has).notes if "blood" in note]
    assert (words is None) == (not notes)
    assert all(note.startswith(words) for note in notes)


def test_the_range_between_thresholds_tells_whether_the_answer_hangs_on_them() -> None:
    labels = after(300)
    sure = np.zeros((40, 60, 60), np.float32)
    sure[2].reshape(-1)[:600] = 0.3
    sure[2].reshape(-1)[:300] = 0.6
    sure[2].reshape(-1)[:100] = 0.9
    left = residual(labels, image_of(sure))
    assert (left.sure_ml, left.possible_ml) == (pytest.approx(0.1), pytest.approx(0.6))
    assert left.depends_on_threshold is True
    sure[2].reshape(-1)[:300] = 0.9
    assert residual(labels, image_of(sure)).depends_on_threshold is False
    assert residual(labels).depends_on_threshold is None


def test_a_map_of_another_grid_is_refused() -> None:
    with pytest.raises(InputError, match="different grids"):
        residual(after(300), image_of(np.zeros((4, 4, 4), np.float32)))


def test_the_error_of_thick_slices_is_reported_and_that_of_fine_ones_is_none() -> None:
    # The ball of the limit is 7 mm wide: little more than one slice of 6 mm.
    assert digitisation_error(0.175, (0.9, 0.9, 6.0)) == pytest.approx(0.22, abs=0.03)
    assert digitisation_error(0.175, (1.0, 1.0, 1.0)) < 0.03
    assert digitisation_error(4.2, (1.0, 1.0, 1.0)) is None  # 20 mm across
    assert residual(after(0)).digitisation is None


def test_balls_of_20_voxels_across_have_their_volume_within_a_percent() -> None:
    axis = np.arange(-13, 14) + 0.31
    z, y, x = np.meshgrid(axis, axis, axis, indexing="ij")
    ball = (x**2 + y**2 + z**2 <= 100).astype(np.uint8) * np.uint8(Label.ET)
    assert residual(image_of(ball)).volume_ml == pytest.approx(4 / 3 * np.pi, rel=0.01)
