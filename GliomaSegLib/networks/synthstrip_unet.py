"""SynthStrip's U-Net: from a head in 0..1 to the distance from the brain's surface in mm, negative inside.

Hoopes A, Mora JS, Dalca AV, Fischl B, Hoffmann M. SynthStrip: skull-stripping for any brain image. NeuroImage
2022;260:119474. Two 3x3x3 convolutions with leaky ReLU (0.2) per level, six levels of half the size each by maximum
pooling, up again by nearest neighbours; no normalisation. The names of its parameters are those of the published file.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_DOWN = (16, 32, 64, 64, 64, 64)
_UP = (64, 64, 64, 64, 64, 32)
_FULL_SIZE = (16, 16)
_SLOPE = 0.2


class SynthStripUNet(nn.Module):
    """Distances ``[batch, 1, *size]`` in mm for images ``[batch, 1, *size]``; each side is a multiple of 64.

    Args:
        down, up, full_size: channels on the way down, on the way up and after it.
    """

    def __init__(
        self, down: Sequence[int] = _DOWN, up: Sequence[int] = _UP, full_size: Sequence[int] = _FULL_SIZE
    ) -> None:
        super().__init__()
        self.encoder, self.decoder, self.remaining = nn.ModuleList(), nn.ModuleList(), nn.Sequential()
        channels = 1
        for width in down:
            self.encoder.append(_pair(channels, width))
            channels = width
        for width, skipped in zip(up, reversed(down), strict=True):
            self.decoder.append(_pair(channels, width))
            channels = width + skipped
        for width in full_size:
            self.remaining.append(_Convolution(channels, width))
            channels = width
        self.remaining.append(_Convolution(channels, 1, activated=False))

    def forward(self, image: Tensor) -> Tensor:
        """See the class."""
        now, skipped = image, []
        for pair in self.encoder:
            now = pair(now)
            skipped.append(now)
            now = functional.max_pool3d(now, 2)
        for pair in self.decoder:
            now = functional.interpolate(pair(now), scale_factor=2.0, mode="nearest")
            now = torch.cat([now, skipped.pop()], dim=1)
        return self.remaining(now)


class _Convolution(nn.Module):
    def __init__(self, channels: int, width: int, activated: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, width, 3, padding=1)
        self._activated = activated

    def forward(self, now: Tensor) -> Tensor:
        now = self.conv(now)
        return functional.leaky_relu(now, _SLOPE) if self._activated else now


def _pair(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(_Convolution(channels, width), _Convolution(width, width))
