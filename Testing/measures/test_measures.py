"""Volumes, diameters, places and sides of synthetic shapes whose measures are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.diameters import diameters_mm
from GliomaSegLib.measures.lesion_size import digitisation_error
from GliomaSegLib.measures.midline import MidlineFrom, Side
from GliomaSegLib.measures.volumes import (
    Measures,
    lesion_numbers,
    measure,
    plane_name,
    slice_axis,
    slice_position_mm,
    volume_text,
)

THICK = (1.0, 2.0, 5.0)


def image_of(array: np.ndarray, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> sitk.Image:
    image = sitk.GetImageFromArray(array if array.dtype == np.float32 else array.astype(np.uint8))
    image.SetSpacing(spacing)
    return image


def two_lesions() -> np.ndarray:
    """A lesion with a core at low x (the patient's right) and a smaller one of edema at high x."""
    labels = np.zeros((10, 30, 40), np.uint8)
    labels[3:6, 5:15, 4:12] = Label.SNFH
    labels[4:6, 8:12, 6:10] = Label.NETC
    labels[4, 9:11, 7:9] = Label.ET
    labels[7:9, 20:24, 34:38] = Label.SNFH
    labels[1, 25:28, 20:22] = Label.RC
    return labels


def test_volumes_are_counted_in_millilitres() -> None:
    labels = two_lesions()
    measures = measure(image_of(labels, THICK), image_of(np.ones_like(labels), THICK))
    expected = {"WT": 240 + 32, "TC": 32, "ET": 4, "RC": 6, "NETC": 28, "SNFH": 240}
    assert {volume.name: volume.voxels for volume in measures.volumes} == expected
    assert measures.volume("WT").volume_ml == pytest.approx(272 * 10 / 1000)
    assert measures.volume("WT").brain_ratio == pytest.approx(272 / labels.size)
    assert measures.brain_ml == pytest.approx(labels.size * 10 / 1000)


def test_what_was_lost_has_as_many_digits_as_what_was_gained() -> None:
    """Such as 'less by' of a tumour that has grown after an operation."""
    assert [volume_text(ml) for ml in (0.1754, -0.1754, 9.006, -9.006, -12.34)] == [
        "0.175 mL", "−0.175 mL", "9.01 mL", "−9.01 mL", "−12.3 mL",
    ]  # fmt: skip


def test_a_finer_grid_changes_no_volume_and_no_diameter() -> None:
    labels = two_lesions()
    coarse = measure(image_of(labels, THICK))
    fine = measure(image_of(labels.repeat(2, 0).repeat(2, 1).repeat(2, 2), (0.5, 1.0, 2.5)))
    for first, second in zip(coarse.volumes, fine.volumes, strict=True):
        assert second.volume_ml == pytest.approx(first.volume_ml)
    for first, second in zip(coarse.lesions, fine.lesions, strict=True):
        assert second.long_mm == pytest.approx(first.long_mm, abs=1.2)


def test_lesions_are_sorted_placed_and_sided() -> None:
    measures = measure(image_of(two_lesions(), THICK))
    whole = [lesion for lesion in measures.lesions if lesion.region is Region.WT]
    assert [(lesion.id, lesion.voxels, lesion.side) for lesion in whole] == [(1, 240, Side.RIGHT), (2, 32, Side.LEFT)]
    assert whole[0].centre_ras_mm == pytest.approx((-7.5, -19.0, 20.0))
    assert whole[1].slice in (7, 8)
    assert whole[1].slice_ras_mm == pytest.approx(5.0 * whole[1].slice)
    assert measures.midline_from is MidlineFrom.IMAGE
    assert [lesion.voxels for lesion in measures.lesions if lesion.region is Region.ET] == [4]


def test_side_follows_the_brain_and_not_the_image() -> None:
    labels = np.zeros((4, 20, 60), np.uint8)
    labels[1:3, 8:12, 20:24] = Label.ET
    brain = np.zeros_like(labels)
    brain[:, :, 0:30] = 1
    assert measure(image_of(labels)).lesions[0].side is Side.RIGHT
    sided = measure(image_of(labels), image_of(brain))
    assert sided.lesions[0].side is Side.LEFT
    assert sided.midline_from is MidlineFrom.BRAIN
    brain[:, :, 0:44] = 1
    assert measure(image_of(labels), image_of(brain)).lesions[0].side is Side.MIDLINE


@pytest.mark.parametrize("orientation", ["RAS", "LPI", "SPL", "AIR", "PSR"])
def test_measures_do_not_depend_on_the_order_of_the_axes(orientation: str) -> None:
    image = image_of(two_lesions(), THICK)
    image.SetOrigin((-20.0, 13.0, 7.0))
    turned = sitk.DICOMOrient(image, orientation)
    expected, found = measure(image), measure(turned)
    assert found.plane == expected.plane == "axial"
    for first, second in zip(expected.lesions, found.lesions, strict=True):
        assert second.centre_ras_mm == pytest.approx(first.centre_ras_mm)
        assert (second.long_mm, second.perpendicular_mm) == pytest.approx((first.long_mm, first.perpendicular_mm))
        assert second.side is first.side
    positions = [
        slice_position_mm(measured_image, slice_axis(measured_image), measures.lesions[0].slice)
        for measured_image, measures in ((image, expected), (turned, found))
    ]
    # Slices of equal area may be swapped by a flip; they stay within the lesion.
    assert abs(positions[0] - positions[1]) <= 2 * THICK[2]


def test_the_plane_is_the_one_of_acquisition() -> None:
    assert slice_axis(image_of(np.zeros((3, 4, 5)), (1.0, 6.0, 1.0))) == 1
    assert slice_axis(image_of(np.zeros((3, 4, 5)), (1.0, 1.1, 1.0))) == 2
    coronal = sitk.DICOMOrient(image_of(np.zeros((3, 4, 5)), (1.0, 6.0, 1.0)), "LIP")
    assert (slice_axis(coronal), plane_name(coronal, 2)) == (2, "coronal")


def test_diameters_of_rectangles_reach_from_edge_to_edge() -> None:
    row = np.zeros((3, 12), bool)
    row[1, 1:11] = True
    assert diameters_mm(row, (1.0, 1.0)) == pytest.approx((10.0, 1.0))
    assert diameters_mm(row, (0.5, 2.0)) == pytest.approx((20.0, 0.5))
    assert diameters_mm(np.ones((1, 1), bool), (2.0, 3.0)) == pytest.approx((3.0, 2.0))


@pytest.mark.parametrize("degrees", [0, 17, 45, 71, 90])
@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.0)])
def test_diameters_of_an_ellipse(degrees: float, spacing: tuple[float, float]) -> None:
    rows, columns = np.meshgrid(np.arange(160) * spacing[0], np.arange(120) * spacing[1], indexing="ij")
    y, x = rows - rows.mean(), columns - columns.mean()
    turn = math.radians(degrees)
    along, across = x * math.cos(turn) + y * math.sin(turn), -x * math.sin(turn) + y * math.cos(turn)
    ellipse = (along / 30) ** 2 + (across / 15) ** 2 <= 1
    long, perpendicular = diameters_mm(ellipse, spacing)
    assert long == pytest.approx(60, abs=1.5)
    assert perpendicular == pytest.approx(30, abs=1.5)


def test_diameters_agree_with_a_search_over_all_chords() -> None:
    """Brute force over the hull, sampled: no chord at right angles to the longest diameter is longer."""
    generator = np.random.default_rng(3)
    for _ in range(20):
        mask = np.zeros((14, 17), bool)
        for row, column in generator.integers(1, 12, (5, 2)):
            mask[row : row + 2, column : column + 3] = True
        rows, columns = np.nonzero(mask)
        offsets = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
        points = (np.c_[rows, columns][:, None] + offsets).reshape(-1, 2) * (1.0, 1.3)
        apart = points[:, None] - points[None]
        lengths = np.linalg.norm(apart, axis=-1)
        long, perpendicular = diameters_mm(mask, (1.0, 1.3))
        assert long == pytest.approx(lengths.max())
        first, second = np.unravel_index(lengths.argmax(), lengths.shape)
        along = apart[first, second] / long
        t, h = points @ along, points @ (-along[1], along[0])
        chords = [_chord(t, h, position) for position in np.linspace(t.min(), t.max(), 400)]
        assert perpendicular == pytest.approx(max(chords), rel=0.01)
        assert perpendicular >= max(chords) - 1e-9


def _chord(t: np.ndarray, h: np.ndarray, position: float) -> float:
    """Length of a convex hull's section at ``t = position``: the extreme of all segments between its points."""
    left, right = t <= position, t >= position
    span = t[right][None] - t[left][:, None]
    share = np.divide(position - t[left][:, None], span, out=np.zeros_like(span), where=span > 0)
    heights = h[left][:, None] * (1 - share) + h[right][None] * share
    return float(heights.max() - heights.min())


def test_only_the_regions_asked_for_are_measured() -> None:
    measures = measure(image_of(two_lesions()), regions=[Region.WT])
    assert [volume.name for volume in measures.volumes] == ["WT"]
    assert measures.volume("ET") is None
    assert {lesion.region for lesion in measures.lesions} == {Region.WT}


def test_a_core_that_is_not_divided_has_no_part_of_its_own() -> None:
    """Neither is all of it 'non-enhancing', nor is there 'no edema'."""
    core = image_of(np.where(np.isin(two_lesions(), (Label.NETC, Label.ET)), Label.NETC, 0))
    assert [volume.name for volume in measure(core, regions=(Region.TC,)).volumes] == ["TC"]
    assert [volume.name for volume in measure(core, regions=(Region.WT, Region.TC)).volumes] == ["WT", "TC", "SNFH"]


def test_an_empty_label_map_has_volumes_of_zero_and_no_lesion() -> None:
    measures = measure(image_of(np.zeros((4, 5, 6))))
    assert measures.lesions == ()
    assert all(volume.voxels == 0 and volume.volume_ml == 0 for volume in measures.volumes)
    assert measures.volume("WT").brain_ratio is None


def test_measures_survive_json_and_become_a_table() -> None:
    measures = measure(image_of(two_lesions(), THICK))
    assert Measures.model_validate_json(measures.model_dump_json()) == measures
    rows = measures.to_rows()
    assert len(rows) == len(measures.volumes) + len(measures.lesions)
    assert len({tuple(row) for row in rows}) == 1
    assert rows[-1]["kind"] == "lesion"
    assert rows[-1]["long_mm"] == measures.lesions[-1].long_mm


def test_lesions_know_how_sure_they_are_how_many_slices_they_have_and_whether_they_are_cut_off() -> None:
    labels = two_lesions()
    labels[0, 0, 0] = Label.SNFH
    probability = np.zeros(labels.shape, np.float32)
    probability[3:6] = 0.6
    probability[4, 10, 8] = 0.9
    probability[7, 21, 35] = 0.7
    probability[9] = 1.0  # outside every lesion
    measures = measure(image_of(labels, THICK), probabilities={Region.WT: image_of(probability, THICK)})
    whole = measures.lesions_of(Region.WT)
    assert [lesion.certainty for lesion in whole] == pytest.approx([0.9, 0.7, 0.0])
    assert [lesion.slices for lesion in whole] == [3, 2, 1]
    assert [lesion.at_border for lesion in whole] == [False, False, True]
    assert measures.lesions_of(Region.ET)[0].certainty is None  # there is no map of it


def head_and_lesion(middle: tuple[float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """A brain (a ball of 100 mm in ``[z, y, x]``) that fills its image, and a lesion of it at its surface or inside."""
    z, y, x = np.indices((101, 101, 101)) - 50.0
    brain = z**2 + y**2 + x**2 <= 50.5**2
    apart = [axis - where for axis, where in zip((z, y, x), middle, strict=True)]
    return brain, brain & (sum(one**2 for one in apart) <= 10**2)


@pytest.mark.parametrize(
    ("middle", "cropped_away", "cut"),
    [
        ((0, 0, 45), np.s_[:, :, :], False),  # its own surface touches the border
        ((0, 45, 0), np.s_[:, :, :], False),
        ((45, 0, 0), np.s_[:, :, :], False),
        ((-45, 0, 0), np.s_[:, :, :], True),  # below, where the brain stem goes on
        ((0, 0, 20), np.s_[:, :, :70], True),  # a half of a brain
        ((20, 0, 0), np.s_[:65], True),  # a slab
    ],
)
@pytest.mark.parametrize("turned", ["LPS", "RAI", "IPL"])
def test_what_touches_the_border_of_an_image_that_was_cropped_to_the_brain_is_not_cut(
    middle: tuple[float, float, float], cropped_away: tuple[slice, ...], cut: bool, turned: str
) -> None:
    brain, lesion = (sitk.DICOMOrient(image_of(one[cropped_away]), turned) for one in head_and_lesion(middle))
    labels = lesion * int(Label.ET)
    (found,) = measure(labels, brain).lesions_of(Region.ET)
    assert found.at_border is cut
    (of_scan,) = measure(labels, scan=sitk.Cast(brain, sitk.sitkFloat32) * 100).lesions_of(Region.ET)
    assert of_scan.at_border is cut
    assert measure(labels).lesions_of(Region.ET)[0].at_border, "of labels alone it is not known"
    assert measure(labels, scan=brain * 0).lesions_of(Region.ET)[0].at_border, "nor of an empty scan"
    padded = [sitk.ConstantPad(one, (9,) * 3, (9,) * 3) for one in (labels, brain)]
    of_padded = measure(*padded).lesions_of(Region.ET)[0]
    assert of_padded.at_border is (cropped_away != np.s_[:, :, :]), "added planes show no brain"


def test_where_the_brain_does_not_reach_the_border_a_lesion_that_does_is_cut() -> None:
    """A brain mask may lose the outermost slices of a slab with the skull."""
    brain, lesion = (one[:95] for one in head_and_lesion((40, 0, 0)))
    brain[-3:], head = False, np.pad(brain, ((0, 0), (20, 20), (20, 20)))
    labels = image_of(np.pad(lesion, ((0, 0), (20, 20), (20, 20))) * int(Label.ET))
    assert measure(labels, image_of(head)).lesions_of(Region.ET)[0].at_border


def test_lesion_numbers_are_those_of_the_list() -> None:
    image = image_of(two_lesions(), THICK)
    numbers = lesion_numbers(image, Region.WT)
    for lesion in measure(image).lesions_of(Region.WT):
        assert np.count_nonzero(numbers == lesion.id) == lesion.voxels


def test_a_probability_map_that_does_not_fit_is_refused() -> None:
    with pytest.raises(InputError, match="probability map of WT"):
        measure(image_of(two_lesions()), probabilities={Region.WT: image_of(np.ones((3, 3, 3)))})


def test_a_brain_mask_that_does_not_fit_is_refused() -> None:
    labels = image_of(two_lesions())
    with pytest.raises(InputError, match="different grids"):
        measure(labels, image_of(np.ones((3, 3, 3))))
    with pytest.raises(InputError, match="brain mask is empty"):
        measure(labels, image_of(np.zeros(two_lesions().shape)))


# --- analytic bodies -----------------------------------------------------------------------------------------------


def ellipsoid(
    half_axes_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float], seed: int
) -> sitk.Image:
    """A label map of ET, one axis along each voxel axis, the middle anywhere in a voxel, on an oblique grid."""
    reach = [int(np.ceil(half / mm)) + 2 for half, mm in zip(half_axes_mm, spacing_mm, strict=True)]
    random = np.random.default_rng(seed)
    x, y, z = (
        ((np.arange(-count, count + 1) + shift) * mm / half) ** 2
        for count, shift, mm, half in zip(reach, random.uniform(-0.5, 0.5, 3), spacing_mm, half_axes_mm, strict=True)
    )
    inside = x[None, None] + y[None, :, None] + z[:, None, None] <= 1
    image = sitk.GetImageFromArray(inside.astype(np.uint8) * np.uint8(Label.ET))
    image.SetSpacing(spacing_mm)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *random.uniform(-0.3, 0.3, 3).tolist())
    image.SetDirection(turn.GetMatrix())
    return image


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(
    ("half_axes_mm", "spacing_mm"),
    [
        ((10.0, 10.0, 10.0), (1.0, 1.0, 1.0)),
        ((16.0, 11.0, 22.0), (1.0, 1.0, 1.0)),
        ((18.0, 11.0, 60.0), (0.9, 0.9, 6.0)),
        ((10.0, 14.0, 12.0), (0.5, 0.5, 1.0)),
    ],
)
def test_volume_within_a_percent_and_diameters_within_a_voxel(
    half_axes_mm: tuple[float, float, float], spacing_mm: tuple[float, float, float], seed: int
) -> None:
    """Where a body is at least 20 voxels across each axis."""
    assert all(2 * half >= 20 * mm for half, mm in zip(half_axes_mm, spacing_mm, strict=True))
    labels = ellipsoid(half_axes_mm, spacing_mm, seed)
    (lesion,) = measure(labels, regions=(Region.ET,)).lesions
    assert lesion.volume_ml == pytest.approx(4 / 3 * np.pi * np.prod(half_axes_mm) / 1000, rel=0.01)
    longer, shorter = sorted(half_axes_mm[:2], reverse=True)
    assert lesion.long_mm == pytest.approx(2 * longer, abs=max(spacing_mm[:2]))
    assert lesion.perpendicular_mm == pytest.approx(2 * shorter, abs=max(spacing_mm[:2]))


def test_a_small_body_is_off_by_about_as_much_as_is_said() -> None:
    """The mean error over its placements is the one that stands in the sentence on residual tumour."""
    spacing_mm, volume_ml = (0.9, 0.9, 6.0), 0.175
    radius = (3000 * volume_ml / (4 * np.pi)) ** (1 / 3)
    errors = []
    for seed in range(60):
        lesions = measure(ellipsoid((radius,) * 3, spacing_mm, seed), regions=(Region.ET,)).lesions
        errors.append(abs(sum(lesion.volume_ml for lesion in lesions) / volume_ml - 1))
    assert np.mean(errors) == pytest.approx(digitisation_error(volume_ml, spacing_mm), abs=0.05)
