"""Diameters of bodies whose size is known, with and without a cavity, in one plane whatever the grid."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.diameters import axial_axis, diameters_mm, solid_size
from GliomaSegLib.measures.lesion_size import followed_lesions
from GliomaSegLib.measures.volumes import measure


def ball(radius: float, cavity: float = -1.0, spacing: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> np.ndarray:
    """A ball with a cavity in its middle, ``[z, y, x]``."""
    axes = [(np.arange(-n, n + 1) + 0.2) * mm for mm in spacing[::-1] for n in [int(radius / mm) + 2]]
    z, y, x = np.meshgrid(*axes, indexing="ij")
    distance = np.sqrt(z**2 + y**2 + x**2)
    return (distance <= radius) & (distance > cavity)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.5, 0.5, 1.0), (0.9, 0.9, 5.0)])
def test_a_rim_is_not_measured_by_the_cavity_in_it(spacing: tuple[float, float, float]) -> None:
    """Of a rim of 20 mm radius the whole diameter is 40 mm whatever its wall; the solid part knows the wall alone."""
    thin, thick, full = (solid_size(ball(20, cavity, spacing), spacing, 2) for cavity in (18, 14, -1))
    assert (thin.is_solid, thick.is_solid, full.is_solid) == (False, False, True)
    assert thin.perpendicular_mm < 5 < thick.perpendicular_mm < 10
    assert (full.long_mm, full.perpendicular_mm) == pytest.approx((40, 40), abs=1.5)


@pytest.mark.parametrize("cavity", [3, 8])
def test_a_small_necrosis_is_left_out_of_the_diameters(cavity: float) -> None:
    found = solid_size(ball(20, cavity), (1.0, 1.0, 1.0), 2)
    assert found.is_solid
    assert found.long_mm == pytest.approx(2 * np.sqrt(400 - cavity**2), abs=1.5)  # beside it


def test_a_nodule_in_the_wall_is_measured() -> None:
    rim, nodule = ball(20, 17), ball(7.5)
    rim[14 : 14 + nodule.shape[0], 14 : 14 + nodule.shape[1], 2 : 2 + nodule.shape[2]] |= nodule
    found = solid_size(rim, (1.0, 1.0, 1.0), 2)
    assert found.is_solid
    assert 14 <= found.perpendicular_mm <= 18
    assert found.long_mm <= 28  # a piece of the wall on either side


def test_a_polar_cap_of_a_rim_is_no_nodule() -> None:
    assert solid_size(ball(20, 14)[-9:], (1.0, 1.0, 1.0), 2).is_solid  # alone it is a disc
    assert not solid_size(ball(20, 14), (1.0, 1.0, 1.0), 2).is_solid


def chords_mm(shape: np.ndarray, pixel_mm: float) -> tuple[float, float]:
    found = solid_size(shape[None], (pixel_mm, pixel_mm, 1.0), 2)
    return found.long_mm, found.perpendicular_mm


@pytest.mark.parametrize("degrees", [0, 17, 45, 71])
def test_chords_of_a_convex_shape_are_its_diameters(degrees: float) -> None:
    y, x = np.meshgrid(np.arange(-40, 41), np.arange(-40, 41), indexing="ij")
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along, across = x * cos + y * sin, -x * sin + y * cos
    for shape in ((along / 30) ** 2 + (across / 15) ** 2 <= 1, (np.abs(along) <= 15) & (np.abs(across) <= 6)):
        assert chords_mm(shape, 1.0) == pytest.approx(diameters_mm(shape, (1.0, 1.0)), abs=1.0)


def test_a_gap_of_one_pixel_is_no_cavity() -> None:
    shape = np.ones((20, 20), bool)
    shape[10, 3:17] = False
    assert chords_mm(shape, 0.7) == pytest.approx(diameters_mm(np.ones((20, 20), bool), (0.7, 0.7)), abs=0.8)


def ellipsoid_on(order: str, spacing: tuple[float, float, float]) -> sitk.Image:
    """Half axes 20 (R-L), 10 (A-P) and 15 mm (I-S) on a grid of these spacings, its voxel axes running as ``order``."""
    size = [int(70 / mm) for mm in spacing]
    image = sitk.Image(size, sitk.sitkUInt8)
    image.SetSpacing(spacing)
    image.SetDirection(sitk.DICOMOrientImageFilter.GetDirectionCosinesFromOrientation(order))
    middle = np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in size]))
    index = np.indices(size).reshape(3, -1).T
    points = index * spacing @ np.reshape(image.GetDirection(), (3, 3)).T + image.GetOrigin() - middle
    inside = ((points / (20.0, 10.0, 15.0)) ** 2).sum(axis=1) <= 1
    array = (inside.reshape(size).transpose(2, 1, 0) * np.uint8(Label.ET)).astype(np.uint8)
    filled = sitk.GetImageFromArray(array)
    filled.CopyInformation(image)
    return filled


@pytest.mark.parametrize(
    ("order", "spacing"),
    [
        ("LPS", (1.0, 1.0, 1.0)),
        ("LPS", (0.9, 0.9, 5.0)),
        ("PIR", (1.0, 1.0, 2.0)),  # sagittal slices 2 mm apart
        ("LIA", (1.0, 1.0, 2.0)),  # coronal
        ("RAS", (1.0, 1.0, 1.2)),
    ],
)
def test_diameters_are_axial_on_every_grid(order: str, spacing: tuple[float, float, float]) -> None:
    """In the plane of sagittal slices the same body would be 30 x 20 mm, and its product 25 % less."""
    labels = ellipsoid_on(order, spacing)
    (lesion,) = followed_lesions(labels, Region.ET, measure(labels, regions=(Region.ET,)).lesions)
    assert (lesion.long_mm, lesion.perpendicular_mm) == pytest.approx((40, 20), abs=max(1.5, *spacing[:2]))
    assert lesion.is_solid
    assert axial_axis(labels) == next(axis for axis in range(3) if order[axis] in "SI")
