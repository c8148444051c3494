"""Lesions followed from study to study: every kind of change, moved heads, other grids."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.lesion_shape import LesionSet
from GliomaSegLib.measures.lesion_size import followed_lesions
from GliomaSegLib.measures.lesion_tracking import Change, LesionHistory, follow, linked
from GliomaSegLib.measures.volumes import measure

Box = tuple[slice, slice, slice]
SHAPE = (20, 40, 40)


def box(z: int, y: int, x: int, size: int = 4, wide: int | None = None) -> Box:
    """``size`` slices and rows and ``wide`` columns from a corner."""
    return slice(z, z + size), slice(y, y + size), slice(x, x + (wide or size))


def study(*boxes: Box, spacing: tuple[float, float, float] = (1.0, 1.0, 2.0)) -> sitk.Image:
    array = np.zeros(SHAPE, np.uint8)
    for one in boxes:
        array[one] = Label.ET
    image = sitk.GetImageFromArray(array)
    image.SetSpacing(spacing)
    return image


def foci(labels: sitk.Image, transform: sitk.Transform | None = None) -> LesionSet:
    lesions = followed_lesions(labels, Region.ET, measure(labels, regions=(Region.ET,)).lesions)
    return LesionSet(labels, Region.ET, lesions, transform)


def followed(*studies: sitk.Image) -> LesionHistory:
    return follow([foci(one) for one in studies], Region.ET)


def changes(course: LesionHistory, step: int = -1) -> dict[Change, tuple[tuple[int, ...], tuple[int, ...]]]:
    return {one.change: (one.before, one.after) for one in course.steps[step]}


A, B, C = box(2, 2, 2), box(2, 20, 2), box(10, 20, 25)


def test_a_lesion_keeps_its_number_when_others_come_and_go() -> None:
    course = followed(study(A, B), study(B, C))
    assert changes(course) == {
        Change.GONE: ((1,), ()),
        Change.UNCHANGED: ((2,), (2,)),
        Change.NEW: ((), (3,)),
    }
    assert [[lesion is not None for lesion in track.lesions] for track in course.tracks] == [
        [True, False],
        [True, True],
        [False, True],
    ]


def test_a_number_that_is_gone_is_not_given_again() -> None:
    course = followed(study(A), study(), study(C))
    assert [track.id for track in course.tracks] == [1, 2]
    assert course.tracks[1].lesions[:2] == (None, None)


@pytest.mark.parametrize(("wide", "change"), [(4, Change.UNCHANGED), (5, Change.GROWN), (3, Change.SHRUNK)])
def test_grown_and_shrunk_by_more_than_a_fifth(wide: int, change: Change) -> None:
    course = followed(study(A), study(box(2, 2, 2, wide=wide)))
    (step,) = course.steps[0]
    assert step.change is change
    assert step.fraction == pytest.approx(wide / 4 - 1)
    assert step.before_ml == pytest.approx(64 * 2 / 1000)


def test_a_split_keeps_the_number_in_the_largest_part_and_a_merger_that_of_the_largest() -> None:
    whole, parts = box(2, 2, 2, wide=12), (box(2, 2, 2, wide=3), box(2, 2, 7, wide=7))
    split = followed(study(whole), study(*parts))
    assert changes(split) == {Change.SPLIT: ((1,), (1, 2))}
    assert split.tracks[0].lesions[1].voxels == 16 * 7
    merged = followed(study(*parts), study(whole))
    assert changes(merged) == {Change.MERGED: ((1, 2), (1,))}
    assert merged.tracks[1].lesions == (merged.tracks[1].lesions[0], None)
    assert merged.tracks[1].lesions[0].voxels == 16 * 3


def test_two_lesions_that_exchange_parts_have_split_and_merged() -> None:
    before = study(box(2, 2, 2, wide=6), box(2, 2, 10, wide=8))
    after = study(box(2, 2, 2, wide=4), box(2, 2, 7, wide=7), box(2, 2, 16, wide=2))
    assert list(changes(followed(before, after))) == [Change.SPLIT_AND_MERGED]


def test_what_lies_beside_without_touching_is_the_same_lesion_when_it_is_near_and_alone() -> None:
    near, far = box(2, 2, 7), box(2, 2, 9)
    assert list(changes(followed(study(A), study(near)))) == [Change.UNCHANGED]
    assert set(changes(followed(study(A), study(far)))) == {Change.GONE, Change.NEW}
    # A satellite of a lesion that has a partner of its own is new.
    assert set(changes(followed(study(A), study(A, near)))) == {Change.UNCHANGED, Change.NEW}


def test_an_empty_study_before_or_after() -> None:
    assert list(changes(followed(study(), study(A)))) == [Change.NEW]
    assert list(changes(followed(study(A), study()))) == [Change.GONE]
    assert followed(study(), study()).tracks == ()


def test_left_and_right_are_not_confused() -> None:
    left, right = box(2, 2, 30), box(2, 2, 6)  # mirror images of one another
    assert set(changes(followed(study(left), study(right)))) == {Change.GONE, Change.NEW}


@settings(max_examples=20, deadline=None)
@given(
    st.tuples(*[st.floats(-0.5, 0.5).map(lambda angle: round(angle, 4))] * 3),  # ITK cannot invert 5e-324
    st.tuples(*[st.floats(-30, 30)] * 3),
    st.sampled_from(["LPS", "RAS", "PIL", "SAR"]),
)
def test_a_moved_head_and_other_axes_change_no_match_and_no_volume(
    angles: tuple[float, float, float], shift: tuple[float, float, float], orientation: str
) -> None:
    first = study(A, box(2, 20, 2, size=5), C)
    transform = sitk.Euler3DTransform((20.0, 20.0, 20.0), *angles, shift)
    # The same voxels in another place: a point p of the first lies at transform(p).
    second = sitk.Image(first)
    matrix = np.reshape(transform.GetMatrix(), (3, 3))
    second.SetDirection((matrix @ np.reshape(first.GetDirection(), (3, 3))).ravel().tolist())
    second.SetOrigin(transform.TransformPoint(first.GetOrigin()))
    second = sitk.DICOMOrient(second, orientation)
    course = follow([foci(first), foci(second, transform)], Region.ET)
    assert [one.change for one in course.steps[0]] == [Change.UNCHANGED] * 3
    for track in course.tracks:
        one, other = track.lesions
        assert one.voxels == other.voxels
        assert transform.TransformPoint(_lps(one.centre_ras_mm)) == pytest.approx(_lps(other.centre_ras_mm), abs=1e-6)


def test_a_lesion_smaller_than_the_other_grids_voxels_is_found_all_the_same() -> None:
    coarse = sitk.Image(5, 5, 5, sitk.sitkUInt8)
    coarse.SetSpacing((8.0, 8.0, 8.0))
    coarse[1, 1, 1] = int(Label.ET)  # from 4 to 12 mm
    fine = sitk.GetImageFromArray(np.zeros((40, 40, 40), np.uint8))
    fine[5, 5, 5] = int(Label.ET)
    for pair in itertools.permutations((coarse, fine)):
        (step,) = followed(*pair).steps[0]
        assert (step.before, step.after) == ((1,), (1,))


# --- rims around a resection cavity -----------------------------------------------------------------------------------

SPHERE_SHAPE = (48, 48, 48)


def shell(outer_mm: float, inner_mm: float, open_below: float = -np.inf, cavity: bool = False) -> sitk.Image:
    """A rim of ET around the middle of a grid of 1 mm, cut off where y is below ``open_below`` mm."""
    z, y, x = np.indices(SPHERE_SHAPE) - 23.5
    radius = np.sqrt(z**2 + y**2 + x**2)
    array = np.zeros(SPHERE_SHAPE, np.uint8)
    array[(radius <= outer_mm) & (radius > inner_mm) & (y >= open_below)] = Label.ET
    if cavity:
        array[radius <= inner_mm] = Label.RC
    return sitk.GetImageFromArray(array)


@pytest.mark.parametrize("cavity", [False, True])
@pytest.mark.parametrize("open_below", [-np.inf, -2.0])
def test_a_rim_that_shrinks_around_its_cavity_is_the_same_lesion(cavity: bool, open_below: float) -> None:
    """No voxel is common to both, and the rims are 5 mm apart; the whole ones have 9.07 and 3.64 mL."""
    course = followed(shell(20, 18, open_below, cavity), shell(13, 11, open_below, cavity))
    (step,) = course.steps[0]
    assert step.change is Change.SHRUNK
    assert (step.before, step.after) == ((1,), (1,))
    if open_below == -np.inf:
        assert (step.before_ml, step.after_ml) == pytest.approx((9.07, 3.64), rel=0.03)
        assert step.fraction == pytest.approx(-0.6, abs=0.02)


def test_a_rim_that_shrinks_and_breaks_up_has_split() -> None:
    pieces = sitk.GetArrayFromImage(shell(13, 11))
    pieces[:, 20:28] = 0
    course = followed(shell(20, 18), sitk.GetImageFromArray(pieces))
    assert changes(course) == {Change.SPLIT: ((1,), (1, 2))}


def nodules(*places: float) -> sitk.Image:
    """Nodules at places along x on the wall of a cavity of 15 mm radius."""
    array = sitk.GetArrayFromImage(shell(15, 15, cavity=True))
    for place in places:
        x = round(23.5 + place)
        array[21:26, 21:26, x - 2 : x + 3] = Label.ET
    return sitk.GetImageFromArray(array)


def test_a_nodule_on_the_other_wall_of_a_cavity_is_a_new_lesion() -> None:
    assert changes(followed(nodules(-17), nodules(17))) == {Change.GONE: ((1,), ()), Change.NEW: ((), (2,))}
    assert set(changes(followed(nodules(-17), nodules(-17, 17)))) == {Change.UNCHANGED, Change.NEW}


def test_the_cavity_of_many_lesions_is_looked_at_once_for_each(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not once for each pair: sixty metastases beside a cavity took minutes."""
    array = np.zeros((20, 40, 40), np.uint8)
    array[8:12, 16:24, 16:24] = Label.RC
    sets = []
    for x in (2, 8):
        array[array == Label.ET] = 0
        for z, y in itertools.product((1, 15), range(1, 37, 6)):
            array[z : z + 3, y : y + 3, x : x + 3] = Label.ET
        sets.append(foci(sitk.GetImageFromArray(array.copy())))
    asked = []

    class Counting:
        def __init__(self, tree: KDTree) -> None:
            self.tree = tree

        def query(self, points: np.ndarray) -> object:
            asked.append(points)
            return self.tree.query(points)

    for one in sets:
        monkeypatch.setitem(one.__dict__, "_cavity_tree", Counting(one._cavity_tree))
    assert not linked(*sets).any()
    assert len(asked) == sum(len(one.lesions) for one in sets) == 24


def test_a_nodule_inside_an_unchanged_rim_is_part_of_it_and_one_outside_is_new() -> None:
    inside, outside = (sitk.GetArrayFromImage(shell(16, 13)) for _ in range(2))
    inside[22:26, 22:26, 22:26] = Label.ET
    outside[22:26, 22:26, 44:47] = Label.ET
    assert set(changes(followed(shell(16, 13), sitk.GetImageFromArray(inside)))) == {Change.SPLIT}
    assert set(changes(followed(shell(16, 13), sitk.GetImageFromArray(outside)))) == {Change.UNCHANGED, Change.NEW}


# --- what the other image does not show -------------------------------------------------------------------------------


def test_a_lesion_outside_the_other_image_is_neither_new_nor_gone() -> None:
    both, slab = study(A, C), study(A)[:, :, :9]
    for pair in ((both, slab), (slab, both)):
        assert set(changes(followed(*pair))) == {Change.UNCHANGED, Change.NOT_COVERED}


# --- lesions that belong together -------------------------------------------------------------------------------------


def test_lesions_that_merge_or_split_are_one_group_at_all_time_points() -> None:
    parts, whole = (box(2, 2, 2, wide=3), box(2, 2, 7, wide=7)), box(2, 2, 2, wide=12)
    course = followed(study(*parts, C), study(whole, C), study(*parts, C))
    assert course.groups() == ((1, 3, 4), (2,))
    assert [sum(one.voxels for one in course.at((1, 3, 4), place)) for place in range(3)] == [160, 192, 160]
    apart = followed(study(whole, C), study(*parts, C), study(*parts, C))
    assert apart.groups(start=0) == ((1, 3), (2,))
    assert apart.groups(start=1) == ((1,), (2,), (3,))  # what was one before the start does not count


def _lps(ras: tuple[float, float, float]) -> tuple[float, float, float]:
    return (-ras[0], -ras[1], ras[2])
