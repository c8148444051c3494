"""Left and right by the mid-sagittal plane, in heads that are turned and tilted in the scanner."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.labels import Label, Region
from GliomaSegLib.measures.midline import MidlineFrom, Side, midline_of
from GliomaSegLib.measures.volumes import measure
from Testing.support.time_points import Shape, ball, labels_of


def turned(yaw: float, roll: float = 0.0, pitch: float = 0.0) -> np.ndarray:
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.radians([pitch, roll, yaw]).tolist())
    return np.reshape(turn.GetMatrix(), (3, 3))


def head(matrix: np.ndarray) -> Shape:
    """An egg, narrower behind."""

    def inside(points: np.ndarray) -> np.ndarray:
        x, y, z = (points @ matrix).T
        return (x / (66 - 0.1 * y)) ** 2 + (y / 82) ** 2 + (z / 58) ** 2 <= 1

    return inside


def sides(matrix: np.ndarray, left_mm: float, front_mm: float, **grid: object) -> Side:
    place = matrix @ np.array([left_mm, -front_mm, 5.0])
    grid = {"size_mm": (200.0, 200.0, 150.0), "spacing": (1.5, 1.5, 1.5)} | grid
    brain = labels_of((head(matrix), Label.ET), **grid)
    labels = labels_of((ball(place, 6), Label.ET), **grid)
    measures = measure(labels, brain, (Region.ET,))
    assert measures.midline_from is MidlineFrom.PLANE
    return measures.lesions[0].side


@pytest.mark.parametrize("yaw", [-15, 0, 15])
@pytest.mark.parametrize("roll", [-8, 0, 8])
def test_a_lesion_far_in_front_is_on_its_own_side_in_a_turned_head(yaw: float, roll: float) -> None:
    """12 mm beside the true middle and 65 mm in front: at 15 degrees it lies 5 mm beyond the middle's x."""
    matrix = turned(yaw, roll)
    assert sides(matrix, -12, 65) is Side.RIGHT
    assert sides(matrix, 12, 65) is Side.LEFT
    assert sides(matrix, 2, 65) is Side.MIDLINE


@pytest.mark.parametrize("orientation", ["LPS", "RAS", "PIR", "LIA"])
@pytest.mark.parametrize("spacing", [(1.5, 1.5, 1.5), (1.0, 1.0, 5.0)])
def test_the_grid_does_not_decide_the_side(orientation: str, spacing: tuple[float, float, float]) -> None:
    matrix = turned(12, 5, 10)
    size = (200.0, 200.0, 200.0)
    assert sides(matrix, -12, 60, orientation=orientation, spacing=spacing, size_mm=size) is Side.RIGHT
    assert sides(matrix, 12, -60, orientation=orientation, spacing=spacing, size_mm=size) is Side.LEFT


def test_the_plane_is_that_of_the_head_within_a_degree() -> None:
    matrix = turned(13, -6)
    brain = labels_of((head(matrix), Label.ET), size_mm=(200.0, 200.0, 150.0), spacing=(1.0, 1.0, 2.0))
    found = midline_of(brain, brain)
    assert np.degrees(np.arccos(found.normal @ matrix[:, 0])) < 1
    assert abs(found.left_mm((0.0, 0.0, 0.0))) < 1


def test_a_small_mask_has_no_plane() -> None:
    small = labels_of((ball((10.0, 0.0, 0.0), 20), Label.ET), size_mm=(100.0, 100.0, 100.0))
    found = midline_of(small, small)
    assert found.source is MidlineFrom.BRAIN
    assert found.left_mm((10.0, 5.0, 5.0)) == pytest.approx(0, abs=0.5)


@pytest.mark.parametrize("yaw", [0, 12])
def test_the_distance_to_the_midline_is_that_of_the_nearest_edge(yaw: float) -> None:
    matrix, grid = turned(yaw), {"size_mm": (200.0, 200.0, 150.0), "spacing": (1.5, 1.5, 1.5)}
    brain = labels_of((head(matrix), Label.ET), **grid)
    shapes = [(ball(matrix @ np.array([left, -30.0, 5.0]), 8), Label.ET) for left in (28, -20)]
    crossing = (ball(matrix @ np.array([4.0, 40.0, 0.0]), 9), Label.ET)
    lesions = measure(labels_of(*shapes, crossing, **grid), brain, (Region.ET,)).lesions
    assert sorted(one.midline_mm for one in lesions) == pytest.approx([0, 12, 20], abs=1.6)
    assert measure(labels_of(*shapes, **grid), None, (Region.ET,)).lesions[0].midline_mm is None


@pytest.mark.parametrize("yaw", [-12, 12])
def test_without_a_brain_mask_the_head_tells_the_side(yaw: float) -> None:
    matrix, grid = turned(yaw), {"size_mm": (200.0, 200.0, 150.0), "spacing": (1.5, 1.5, 1.5)}
    scan = sitk.Cast(labels_of((head(matrix), Label.ET), **grid), sitk.sitkFloat32)
    labels = labels_of((ball(matrix @ np.array([-12.0, -65.0, 5.0]), 6), Label.ET), **grid)
    measured = measure(labels, None, (Region.ET,), scan=scan)
    assert (measured.midline_from, measured.lesions[0].side) == (MidlineFrom.HEAD, Side.RIGHT)
