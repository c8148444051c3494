"""How the voxels of a volume lie in the patient, and what is refused or doubted about it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError

_LEAST_MM, _MOST_MM = 4.0, 1000.0  # of a field of view; below and above the unit of length is another one

# Largest departure of DᵀD from the identity: below the first a direction matrix is left alone, up to the second it is
# rounding in the file and is made orthonormal, above it the grid is sheared.
_EXACT, _SHEARED = 1e-6, 2e-3


class Geometry(NamedTuple):
    """From headers alone: edges of the voxels and of the whole volume in mm, and unit normal of the slices (LPS)."""

    spacing_mm: tuple[float, float, float]
    normal: NDArray[np.float64]
    extent_mm: tuple[float, ...]


def orthonormal_direction(direction: NDArray[np.float64], source: str) -> NDArray[np.float64]:
    """The orthonormal matrix nearest to a 3 x 3 ``direction`` (columns: voxel axes in LPS).

    Raises:
        InputError: the columns are further from orthonormal than rounding explains.
    """
    departure = shear(direction)
    if not departure <= _SHEARED:  # catches NaN as well
        raise InputError(sheared(source))
    if departure < _EXACT:
        return direction
    left, _, right = np.linalg.svd(direction)
    return left @ right


def shear(direction: NDArray[np.float64]) -> float:
    """How far the columns of ``direction`` are from orthonormal; up to 0.002 is rounding."""
    return float(np.abs(direction.T @ direction - np.eye(3)).max())


def is_orthonormal(direction: NDArray[np.float64]) -> bool:
    """Whether the columns are orthonormal but for rounding."""
    return shear(direction) <= _SHEARED


def sheared(source: str) -> str:
    """The sentence on a grid whose axes are not at right angles."""
    return (
        f"{source} has sheared axes (its direction cosines are not orthonormal), so distances in it are not what its "
        "header says; resample it to a rectangular grid first."
    )


def check_field_of_view(extent_mm: tuple[float, ...], source: str, unit: str = "mm") -> None:
    """Refuse a volume that no head fits: its lengths are in another unit than its header says.

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
