"""Resampling of arrays with torch, on any device: averaging, rotation and scaling.

Volumes are ``[channel, z, y, x]``; positions are in mm along the array's axes z, y, x, from the centre of its first
voxel. For patient coordinates see :mod:`GliomaSegLib.preprocessing.resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def averaged(volume: Tensor, factors: Sequence[int]) -> Tensor:
    """Means over blocks of ``factors`` voxels (z, y, x), after padding with zeros at the ends."""
    if all(factor == 1 for factor in factors):
        return volume
    missing = [-size % factor for size, factor in zip(volume.shape[1:], factors, strict=True)]
    padded = functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))
    return functional.avg_pool3d(padded[None], tuple(factors))[0]


def first_centre_mm(spacing_mm: Sequence[float], factors: Sequence[int]) -> NDArray[np.float64]:
    """The centre of the first voxel of :func:`averaged`, in coordinates of the original array."""
    return (np.array(factors) - 1) / 2 * np.array(spacing_mm)


def resample(
    volume: Tensor,
    spacing_mm: NDArray[np.float64],
    shape: Sequence[int],
    grid_mm: float | NDArray[np.float64],
    centre: NDArray[np.float64],
    axes: NDArray[np.float64],
    mode: str = "bilinear",
) -> Tensor:
    """Resample ``volume`` to a grid of ``shape`` (z, y, x), 0 outside.

    Args:
        spacing_mm: of the volume, z, y, x.
        grid_mm: voxel size of the grid, z, y, x.
        centre: centre of the grid in the volume, mm.
        axes: ``[3, 3]``, from mm along the grid's axes to mm along the volume's.
        mode: ``bilinear`` (trilinear here) or ``nearest``.
    """
    extent = np.array(volume.shape[1:])
    half_grid = (np.array(shape) - 1) / 2 * grid_mm
    half_volume = np.maximum(extent - 1, 1) / 2 * spacing_mm
    matrix = axes * half_grid[None, :] / half_volume[:, None]
    shift = (centre - (extent - 1) / 2 * spacing_mm) / half_volume
    theta = np.concatenate([matrix[::-1, ::-1], shift[::-1, None]], axis=1)  # torch wants x, y, z
    where = torch.from_numpy(theta.copy()).to(volume)[None]
    grid = functional.affine_grid(where, [1, len(volume), *shape], align_corners=True)
    return functional.grid_sample(volume[None], grid, mode=mode, padding_mode="zeros", align_corners=True)[0]
