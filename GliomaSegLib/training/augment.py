"""Random augmentation during training: pose, contrast and image quality.

Images are ``float32 [4, z, y, x]``, z-scores inside the brain. Voxels outside the brain and missing modalities are and
remain exactly 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import Augmentation


# Approximate ratio of mean and standard deviation of raw intensities inside the brain: added to a z-score, it gives a
# positive intensity, which a bias field multiplies.
_RAW_MEAN = 3.5

_FIELD_NODES = 4  # of the random bias field, per axis


def random_axes(how: Augmentation, rng: np.random.Generator) -> NDArray[np.float64]:
    """Random matrix ``[3, 3]`` (z, y, x) from mm of the view to mm of the head: rotation, scale, left-right flip."""
    angles = np.radians(rng.uniform(-1, 1, 3) * how.rotation_degrees)
    axes = np.eye(3)
    for axis, angle in enumerate(angles):
        first, second = (other for other in range(3) if other != axis)
        turn = np.eye(3)
        turn[first, first] = turn[second, second] = np.cos(angle)
        turn[first, second], turn[second, first] = -np.sin(angle), np.sin(angle)
        axes = axes @ turn
    axes = axes / rng.uniform(*how.scale)
    if rng.random() < how.flip:
        axes[:, 2] *= -1
    return axes


def change_images(
    images: Tensor, brain: Tensor, spacing_mm: float | tuple[float, ...], how: Augmentation, rng: np.random.Generator
) -> Tensor:
    """A copy of ``images`` with random contrast, bias field, resolution and noise.

    Args:
        brain: ``[1, z, y, x]``, 1 inside; the result is exactly 0 outside.
        spacing_mm: voxel size, or along z, y and x.
    """
    generator = torch.Generator(images.device).manual_seed(int(rng.integers(1 << 62)))
    field = _smooth_field(images.shape[1:], generator)
    changed = images.clone()
    for channel in changed:
        if not channel.any():
            continue
        if rng.random() < how.bias_field:
            channel.add_(_RAW_MEAN).mul_(torch.exp(float(rng.uniform(0.05, 0.2)) * field)).sub_(_RAW_MEAN)
        if rng.random() < how.gamma:
            channel.copy_(_gamma(channel, float(rng.uniform(0.7, 1.5))))
        if rng.random() < how.contrast:
            channel.mul_(float(rng.uniform(0.75, 1.3))).add_(float(rng.uniform(-0.3, 0.3)))
        if rng.random() < how.thick_slices:
            axis = int(rng.integers(3))
            channel.copy_(
                _coarsened(
                    channel, axis, float(rng.uniform(2.0, how.slice_mm)) / float(np.broadcast_to(spacing_mm, 3)[axis])
                )
            )
        if rng.random() < how.blur:
            for axis in range(3):
                channel.copy_(_coarsened(channel, axis, float(rng.uniform(1.3, 2.0))))
        if rng.random() < how.noise:
            noise = torch.randn(channel.shape, generator=generator, device=channel.device)
            channel.add_(noise.mul_(float(rng.uniform(0.02, 0.15))))
        channel.mul_(brain[0])
    return changed


def _smooth_field(shape: torch.Size, generator: torch.Generator) -> Tensor:
    nodes = torch.randn((1, 1, *(_FIELD_NODES,) * 3), generator=generator, device=generator.device)
    return functional.interpolate(nodes, size=tuple(shape), mode="trilinear", align_corners=True)[0, 0]


def _gamma(channel: Tensor, exponent: float) -> Tensor:
    """Gamma correction between the minimum and maximum, which do not change."""
    low, high = channel.min(), channel.max()
    span = (high - low).clamp(min=1e-6)
    return ((channel - low) / span).pow_(exponent).mul_(span).add_(low)


def _coarsened(channel: Tensor, axis: int, factor: float) -> Tensor:
    """The channel downsampled by ``factor`` along ``axis`` and interpolated back."""
    coarse = list(channel.shape)
    coarse[axis] = max(2, round(coarse[axis] / max(factor, 1.0)))
    seen = functional.interpolate(channel[None, None], size=coarse, mode="area")
    return functional.interpolate(seen, size=tuple(channel.shape), mode="trilinear", align_corners=False)[0, 0]
