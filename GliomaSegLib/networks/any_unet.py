"""The network of ``gliomaseg-any``: a small residual 3D U-Net that can compare both hemispheres voxel by voxel.

Designed for this project, after the residual encoder U-Net of nnU-Net (Isensee F et al., nnU-Net revisited, MICCAI
2024), to be fast on a CPU: one convolution each in encoder and decoder at full resolution, where normalisation and
memory traffic cost most, and residual blocks at the lower resolutions. Skip connections are added, not concatenated,
which halves the most expensive convolution.

``mirrored`` adds a copy of every channel, flipped left to right. In a volume whose middle is the mid-sagittal plane
each voxel then has its counterpart of the other hemisphere as a further channel: where only T1 is given, a tumour is
dark and diffuse, and is seen best by its difference from the healthy side.

MONAI's DynUNet and SegResNet are not used: neither allows added skip connections or a single convolution at the
first level, and on a CPU both spend more than half of their time there.
"""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional

_SLOPE = 0.01  # of the leaky ReLU


class AnyUNet(nn.Module):
    """Images ``[batch, channel, z, y, x]`` to logits ``[batch, region, z, y, x]``.

    Args:
        channels: of the images; a missing sequence is 0 throughout.
        regions: one sigmoid channel each.
        widths: feature maps per level, from full resolution down, each level at half the resolution of the one before.
        blocks: residual blocks per level below the first, on the way down; one on the way up.
        mirrored: also give the network the channels flipped along x.
    """

    def __init__(
        self,
        channels: int = 4,
        regions: int = 3,
        widths: tuple[int, ...] = (16, 32, 64, 128),
        blocks: int = 1,
        mirrored: bool = False,
    ) -> None:
        super().__init__()
        widths = tuple(widths)
        self.mirrored = mirrored
        self.multiple = (2 ** (len(widths) - 1),) * 3
        self.stem = _Convolution(channels * (2 if mirrored else 1), widths[0])
        pairs = list(itertools.pairwise(widths))
        self.down = nn.ModuleList(
            nn.Sequential(_Convolution(fine, coarse, stride=2), *(_Residual(coarse) for _ in range(blocks)))
            for fine, coarse in pairs
        )
        self.lift = nn.ModuleList(nn.ConvTranspose3d(coarse, fine, 2, stride=2) for fine, coarse in pairs)
        self.up = nn.ModuleList(
            _Residual(fine) if level else _Convolution(fine, fine) for level, (fine, _) in enumerate(pairs)
        )
        self.head = nn.Conv3d(widths[0], regions, 1)

    def forward(self, images: Tensor) -> Tensor:
        """See the class."""
        if self.mirrored:
            images = torch.cat([images, images.flip(-1)], dim=1)
        features = [self.stem(images)]
        for down in self.down:
            features.append(down(features[-1]))
        result = features.pop()
        for lift, up in zip(reversed(self.lift), reversed(self.up), strict=True):
            result = up(lift(result) + features.pop())
        # A 1x1x1 convolution as a matrix product, for which torch leaves the voxels in their order.
        return functional.linear(result.movedim(1, -1), self.head.weight.flatten(1), self.head.bias).movedim(-1, 1)


class _Convolution(nn.Module):
    """3x3x3 convolution, instance normalisation, leaky ReLU."""

    def __init__(self, channels: int, width: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, width, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.InstanceNorm3d(width, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(features)), _SLOPE, inplace=True)


class _Residual(nn.Module):
    """Two convolutions with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = _Convolution(width, width)
        self.conv = nn.Conv3d(width, width, 3, padding=1, bias=False)
        self.norm = nn.InstanceNorm3d(width, affine=True)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(self.first(features))).add_(features), _SLOPE, inplace=True)
