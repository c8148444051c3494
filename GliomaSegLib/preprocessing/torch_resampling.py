"""Arrays on other grids: averaged down, turned and scaled, with torch and so on whatever device they are.

Volumes are ``[channel, z, y, x]``; positions are in mm along the array's own axes z, y, x, from the centre of its first
voxel. Patient coordinates live in :mod:`GliomaSegLib.preprocessing.resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


def averaged(volume: Tensor, factors: Sequence[int]) -> Tensor:
    """Means over blocks of ``factors`` voxels (z, y, x); zeros are added at the far ends so that nothing is lost."""
    if all(factor == 1 for factor in factors):
        return volume
    missing = [-size % factor for size, factor in zip(volume.shape[1:], factors, strict=True)]
    padded = functional.pad(volume, (0, missing[2], 0, missing[1], 0, missing[0]))
    return functional.avg_pool3d(padded[None], tuple(factors))[0]


def first_centre_mm(spacing_mm: Sequence[float], factors: Sequence[int]) -> NDArray[np.float64]:
    """Where the first voxel that :func:`averaged` makes has its centre, in the coordinates of the original array."""
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
    """``volume`` on a grid of ``shape`` (z, y, x), 0 outside.

    Args:
        spacing_mm: of the volume, z, y, x.
        grid_mm: of the grid.
        centre: the grid's middle in the volume, mm.
        axes: ``[3, 3]``: mm along the grid's axes to mm along the volume's.
        mode: ``bilinear``, which is linear in three dimensions too, or ``nearest``.
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
