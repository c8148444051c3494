"""Geometry of volumes in patient space (LPS mm), and checks of it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError

_LEAST_MM, _MOST_MM = 4.0, 1000.0  # limits of a field of view; beyond them the unit is not mm

# Largest deviation of DᵀD from the identity: up to the first a direction matrix is not changed, up to the second it is
# rounding and is made orthonormal, above it the grid is sheared.
_EXACT, _SHEARED = 1e-6, 2e-3

# Deviations from an evenly spaced stack that are rounding: of a step, relative to the median; of a position from the
# slice normal, in mm.
_STEP_TOLERANCE = 0.05
_OFFSET_TOLERANCE_MM = 0.5


class Geometry(NamedTuple):
    """From a header: voxel size and edge lengths of the volume in mm, and unit normal of the slices (LPS)."""

    spacing_mm: tuple[float, float, float]
    normal: NDArray[np.float64]
    extent_mm: tuple[float, ...]


def orthonormal_direction(direction: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """The orthonormal matrix nearest to a 3 x 3 ``direction`` (columns: voxel axes in LPS).

    Raises:
        InputError: the deviation from orthonormal columns is larger than rounding.
    """
    departure = shear(direction)
    if not departure <= _SHEARED:  # catches NaN as well
        raise InputError(sheared(source))
    if departure < _EXACT:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right


def shear(direction: NDArray[np.float64]) -> float:
    """The largest deviation of the columns of ``direction`` from orthonormal; up to 0.002 is rounding."""
    return float(np.abs(direction.T @ direction - np.eye(3)).max())


def is_orthonormal(direction: NDArray[np.float64]) -> bool:
    """Whether the columns are orthonormal within rounding."""
    return shear(direction) <= _SHEARED


def sheared(source: str) -> str:
    """The error message for a grid whose axes are not at right angles."""
    return (
        f"{source} has sheared axes (its direction cosines are not orthonormal), so distances in it are not what its "
        "header says; resample it to a rectangular grid first."
    )


def check_field_of_view(extent_mm: tuple[float, ...], source: str, unit: str = "mm") -> None:
    """Refuse a volume of impossible size for a head, as from a wrong unit in its header.

    Raises:
        InputError: its longest edge is shorter than 4 mm or longer than 1 m.
    """
    longest = max(extent_mm)
    if not _LEAST_MM <= longest <= _MOST_MM:
        shown = " x ".join(f"{edge:.4g}" for edge in extent_mm)
        raise InputError(
            f"{source} measures {shown} mm (unit of length in its header: {unit}), which is no head; correct the unit "
            "or the voxel size in its header, or convert the DICOM files again."
        )


def even_step(positions_mm: NDArray[np.float64], normal: NDArray[np.float64], source: str) -> float:
    """Distance in mm between the slices of an even, straight stack of sorted ``positions_mm`` (n x 3).

    Raises:
        InputError: the stack is not even or not straight.
    """
    heights = positions_mm @ normal
    steps = np.diff(heights)
    usual = float(np.median(steps))
    if steps.min() < 0.01:
        raise InputError(
            f"{source} has {int((steps < 0.01).sum()) + 1} slices at the same place, so several volumes share one "
            "series; convert it with dcm2niix and give the file you want."
        )
    if np.abs(steps - usual).max() > _STEP_TOLERANCE * usual:
        raise InputError(_uneven(steps, usual, source))
    across = positions_mm - positions_mm[0] - np.outer(heights - heights[0], normal)
    if np.linalg.norm(across, axis=1).max() > _OFFSET_TOLERANCE_MM:
        raise InputError(
            f"{source} has slices that are shifted against one another (a sheared stack); convert it with dcm2niix "
            "and resample it to a rectangular grid."
        )
    return float(heights[-1] - heights[0]) / len(steps)


def is_even_stack(positions_mm: NDArray[np.float64], normal: NDArray[np.float64]) -> bool:
    """Whether three or more slices at ``positions_mm`` (n x 3, in any order) pass :func:`even_step`."""
    if len(positions_mm) < 3:
        return False
    try:
        even_step(positions_mm[np.argsort(positions_mm @ normal)], normal, "")
    except InputError:
        return False
    return True


def _uneven(steps: np.ndarray, usual: float, source: str) -> str:
    missing = np.round(steps / usual) - 1
    if missing.any() and np.abs(steps - usual * (missing + 1)).max() <= 2 * _STEP_TOLERANCE * usual:
        return f"{source} lacks {int(missing.sum())} slices in between; copy the whole series again."
    return (
        f"{source} has unevenly spaced slices ({steps.min():.2f} to {steps.max():.2f} mm apart); "
        "give a series with even spacing."
    )
