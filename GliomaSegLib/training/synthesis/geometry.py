"""Coordinates in arrays ``[z, y, x]`` of cubic voxels, random fields, and interpolation."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from GliomaSegLib.phantom.fields import random_field
from GliomaSegLib.training.synthesis.sample import Volume

Points = NDArray[np.float32]
"""``[3, z, y, x]``: for every voxel the position (z, y, x, in voxels) from which its value is taken."""

# A smooth field is computed at so many points per correlation length and interpolated linearly.
_POINTS_PER_LENGTH = 2


def identity(shape: tuple[int, ...]) -> Points:
    """The position of every voxel itself."""
    return np.indices(shape, dtype=np.float32)


def sampled(volumes: NDArray[np.float32], points: Points) -> NDArray[np.float32]:
    """Values of ``volumes`` ``[c, z, y, x]`` at ``points``, interpolated linearly; 0 outside."""
    last = np.maximum(np.array(volumes.shape[1:]) - 1, 1).astype(np.float32)
    relative = torch.from_numpy(
        np.ascontiguousarray((2 * points.T / last - 1).T[::-1], np.float32)
    )  # grid_sample wants x, y, z
    values = torch.nn.functional.grid_sample(
        torch.from_numpy(np.ascontiguousarray(volumes, np.float32))[None],
        relative.permute(1, 2, 3, 0)[None],
        mode="bilinear",
        align_corners=True,
    )
    return values[0].numpy()


def sampled_labels(labels: NDArray[np.uint8], points: Points) -> NDArray[np.uint8]:
    """The label with the largest linearly interpolated fraction at every point; background outside."""
    values = np.unique(labels[labels > 0])
    if not values.size:
        return np.zeros(points.shape[1:], np.uint8)
    shares = sampled(np.stack([labels == value for value in values]).astype(np.float32), points)
    largest = values[shares.argmax(axis=0)].astype(np.uint8)
    return np.where(shares.max(axis=0) > 1 - shares.sum(axis=0), largest, np.uint8(0))


def smooth_field(random: np.random.Generator, shape: tuple[int, ...], spacing_mm: float, length_mm: float) -> Volume:
    """A Gaussian random field ``[z, y, x]`` with mean 0, variance about 1 and correlation length ``length_mm``."""
    step = max(1, int(length_mm / (_POINTS_PER_LENGTH * spacing_mm)))
    coarse = sitk.Image([-(-size // step) for size in shape[::-1]], sitk.sitkUInt8)
    coarse.SetSpacing((step * spacing_mm,) * 3)
    coarse.SetOrigin([-spacing_mm * size / 2 for size in shape[::-1]])
    field = torch.from_numpy(random_field(random, coarse, length_mm))[None, None]
    if step > 1:
        field = torch.nn.functional.interpolate(field, shape, mode="trilinear")
    return field[0, 0].numpy()


def elastic(
    random: np.random.Generator, shape: tuple[int, ...], spacing_mm: float, amplitude_mm: float, length_mm: float
) -> Points:
    """A smooth random displacement field in voxels."""
    fields = [smooth_field(random, shape, spacing_mm, length_mm) for _ in range(3)]
    return np.stack(fields) * np.float32(amplitude_mm / spacing_mm)


def rotation(random: np.random.Generator, degrees: float) -> NDArray[np.float64]:
    """A random rotation matrix, up to ``degrees`` about each axis."""
    return Rotation.from_euler("zyx", random.uniform(-degrees, degrees, 3), degrees=True).as_matrix()


def linear(points: Points, matrix: NDArray[np.floating], centre: NDArray, onto: NDArray) -> Points:
    """Apply ``matrix`` to ``points`` about ``centre``, which is mapped to ``onto``."""
    shifted = points - np.float32(np.reshape(centre, (3, 1, 1, 1)))
    return np.tensordot(matrix.astype(np.float32), shifted, axes=1) + np.float32(np.reshape(onto, (3, 1, 1, 1)))


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """The centroid of a mask in voxels (z, y, x)."""
    return np.array(ndimage.center_of_mass(mask))
