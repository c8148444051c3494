"""Grids keep places: what is resampled lies where it lay."""

from __future__ import annotations

import math
from random import Random

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from GliomaSegLib.io.grid import array_on, corners, oriented, oriented_like, placed_as, same_grid, upright_view
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image, resample_labels

spacings = st.tuples(*[st.floats(0.4, 6.0)] * 3)
sizes = st.tuples(*[st.integers(6, 30)] * 3)
angles = st.tuples(*[st.floats(-0.7, 0.7, allow_subnormal=False).map(lambda angle: round(angle, 6))] * 3)


def image_with(size: tuple[int, ...], spacing: tuple[float, ...], angle: tuple[float, ...]) -> sitk.Image:
    """A smooth ramp: its grey value tells the place."""
    turn = sitk.Euler3DTransform()
    turn.SetRotation(*angle)
    image = sitk.Image(size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    image.SetDirection(turn.GetMatrix())
    image.SetOrigin((-20.0, 35.0, 11.0))
    source = sitk.PhysicalPointSource(sitk.sitkVectorFloat32, size, image.GetOrigin(), spacing, image.GetDirection())
    return sum(weight * sitk.VectorIndexSelectionCast(source, axis) for axis, weight in enumerate((1.0, 2.0, 4.0)))


@settings(max_examples=40, deadline=None)
@given(sizes, spacings, angles)
def test_model_grid_covers_the_same_field_of_view(
    size: tuple[int, ...], spacing: tuple[float, ...], angle: tuple[float, ...]
) -> None:
    image = image_with(size, spacing, angle)
    grid = model_grid(image, (1.0, 1.0, 1.0), "LPS")
    oriented = sitk.DICOMOrient(image, "LPS")
    for axis in range(3):
        extent = oriented.GetSize()[axis] * oriented.GetSpacing()[axis]
        assert abs(grid.GetSize()[axis] * grid.GetSpacing()[axis] - extent) <= 0.51
    middles = [
        one.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in one.GetSize()]) for one in (image, grid)
    ]
    assert math.dist(*middles) < 1e-6


@settings(max_examples=40, deadline=None)
@given(sizes, spacings, angles)
def test_a_resampled_ramp_still_tells_its_place(
    size: tuple[int, ...], spacing: tuple[float, ...], angle: tuple[float, ...]
) -> None:
    image = image_with(size, spacing, angle)
    resampled = resample_image(image, model_grid(image, (1.0, 1.0, 1.0), "LPS"))
    index = [n // 2 for n in resampled.GetSize()]
    x, y, z = resampled.TransformIndexToPhysicalPoint(index)
    assert resampled.GetPixel(index) == pytest.approx(x + 2 * y + 4 * z, abs=1e-2)


def test_own_voxels_are_copied_when_the_spacing_is_right(random_image: sitk.Image) -> None:
    image = sitk.Image(random_image)
    image.SetSpacing((1, 1, 1))
    grid = model_grid(image, (1.0, 1.0, 1.0), "RAS")
    there = resample_image(image, grid)
    back = oriented_like(there, image)
    assert np.array_equal(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(image))


def test_header_noise_makes_no_other_grid(random_image: sitk.Image) -> None:
    noisy = sitk.Image(random_image)
    noisy.SetOrigin([value + 1e-3 for value in random_image.GetOrigin()])
    assert same_grid(random_image, noisy)
    noisy.SetOrigin([value + 0.1 for value in random_image.GetOrigin()])
    assert not same_grid(random_image, noisy)
    assert len(corners(noisy)) == 8


def test_labels_keep_their_volume_through_another_grid() -> None:
    distance = np.linalg.norm(np.mgrid[-20:21, -20:21, -20:21], axis=0)
    labels = sitk.GetImageFromArray(((distance < 15).astype(np.uint8) + (distance < 8)).astype(np.uint8))
    grid = sitk.Image([60, 60, 14], sitk.sitkUInt8)
    grid.SetSpacing((0.7, 0.7, 3.0))
    there = resample_labels(labels, grid)
    voxel = math.prod(grid.GetSpacing())
    for label in (1, 2):
        before = (sitk.GetArrayViewFromImage(labels) == label).sum()
        after = (sitk.GetArrayViewFromImage(there) == label).sum() * voxel
        assert after == pytest.approx(before, rel=0.03)


def test_an_array_takes_the_grids_geometry(random_image: sitk.Image) -> None:
    array = sitk.GetArrayFromImage(random_image)
    assert same_grid(array_on(array, random_image), random_image)


@settings(max_examples=60, deadline=None)
@given(sizes, spacings, angles, angles, st.randoms(use_true_random=False))
def test_what_is_left_out_around_the_content_is_zero_anyway(
    size: tuple[int, ...],
    spacing: tuple[float, ...],
    angle: tuple[float, ...],
    turned: tuple[float, ...],
    chance: Random,
) -> None:
    array = np.zeros(size[::-1], np.uint8)
    low = [chance.randrange(side) for side in array.shape]
    array[tuple(slice(first, first + chance.randint(1, 8)) for first in low)] = chance.randint(1, 3)
    labels = array_on(array, image_with(size, spacing, angle))
    grid = image_with((31, 24, 17), (0.9, 1.3, 2.0), (0.1, 0.0, -0.2))
    transform = sitk.Euler3DTransform()
    transform.SetRotation(*turned)
    transform.SetTranslation((3.0, -2.0, 5.0))
    expected = sitk.Resample(labels, grid, transform, sitk.sitkLabelLinear, 0.0, sitk.sitkUInt8)
    found = resample_labels(labels, grid, transform)
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(found), sitk.GetArrayViewFromImage(expected))
    assert same_grid(found, grid)
    smooth = sitk.Resample(sitk.Cast(labels, sitk.sitkFloat32), grid, transform, sitk.sitkLinear, 0.0)
    np.testing.assert_allclose(
        sitk.GetArrayFromImage(resample_image(labels, grid, transform)), sitk.GetArrayFromImage(smooth), atol=1e-4
    )


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_a_view_of_an_image_is_upright_as_the_turned_image_is(seed: int) -> None:
    random = np.random.default_rng(seed)
    image = sitk.GetImageFromArray(random.random((4, 5, 6), np.float32))
    image.SetDirection(np.linalg.qr(random.normal(size=(3, 3)))[0].ravel().tolist())
    image.SetMetaData("0010|0010", "somebody")
    turned, by_itk = oriented(image), sitk.DICOMOrient(image, "LPS")
    assert np.array_equal(upright_view(image), sitk.GetArrayFromImage(turned))
    assert np.array_equal(sitk.GetArrayFromImage(by_itk), sitk.GetArrayFromImage(turned))
    assert (turned.GetOrigin(), turned.GetDirection()) == (by_itk.GetOrigin(), by_itk.GetDirection())
    assert not turned.GetMetaDataKeys()


def test_an_image_is_placed_as_another_without_being_changed_itself() -> None:
    image, grid = (image_with((6, 6, 6), (1.0, 1.0, 1.0), (0.0, 0.0, 0.1)) for _ in range(2))
    assert placed_as(image, grid) is image
    grid.SetOrigin((-20.0, 35.0, 11.0 + 1e-9))
    assert placed_as(image, grid).GetOrigin() == grid.GetOrigin() != image.GetOrigin()
