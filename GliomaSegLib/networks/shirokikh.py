"""The 3D U-Net and the V-Net that Shirokikh 2019 compared on tumours for radiosurgery.

Shirokikh B et al. Deep learning for brain tumor segmentation in radiosurgery: prospective clinical evaluation. BrainLes
2019, arXiv:1909.02799. It calls both "vanilla", cites their papers and does not list the layers; here they are those of

* Çiçek Ö et al. 3D U-Net. MICCAI 2016, arXiv:1606.06650, with its 19,069,955 parameters for three channels in and out;
* Milletari F et al. V-Net. 3DV 2016, arXiv:1606.04797.

=========== ================ ============================== ==================================================
level       size for 64^3    3D U-Net                       V-Net
=========== ================ ============================== ==================================================
1           64^3             32 64                          16, one convolution
2           32^3             64 128                         32, two
3           16^3             128 256                        64, three
4           8^3              256 512                        128, three
5           4^3                                             256, three
4           8^3                                             256, three
3           16^3             256 256                        128, three
2           32^3             128 128                        64, two
1           64^3             64 64                          32, one
output      64^3             1x1x1                          5x5x5, 1x1x1
=========== ================ ============================== ==================================================

3D U-Net: numbers are the channels of two 3x3x3 convolutions, each with batch normalisation and ReLU; 2x2x2 max pooling
down, transposed 2x2x2 convolution up. V-Net: residual stages of 5x5x5 convolutions with PReLU; 2x2x2 convolutions with
stride 2 down and up. What was chosen where the papers differ or are silent:

* 'same' padding in the 3D U-Net (Çiçek convolves without), because patches of 64^3 are too small to lose a margin;
* batch normalisation in the V-Net, as in its authors' later code (the paper of 2016 has none), and no dropout;
* the authors say that they changed their final 3D U-Net "in a minor way" to save memory, not how: not reproduced.

MONAI's BasicUNet has five levels and other channels, so the 3D U-Net is put together from its blocks; MONAI's VNet has
fewer convolutions than the paper on six of nine stages, so the V-Net is put together from its transitions.
"""

from __future__ import annotations

import itertools

import torch
from monai.networks.blocks import Convolution
from monai.networks.nets.vnet import DownTransition, InputTransition, OutputTransition, UpTransition
from torch import Tensor, nn
from torch.nn import functional

PATCH = (64, 64, 64)

_UNET_CHANNELS = ((32, 64), (64, 128), (128, 256), (256, 512))
_VNET_DOWN = ((16, 2), (32, 3), (64, 3), (128, 3))  # channels before, convolutions
_VNET_UP = ((256, 256, 3), (256, 128, 3), (128, 64, 2), (64, 32, 1))  # channels before and after, convolutions


class UNet3D(nn.Module):
    """3D U-Net of Çiçek 2016 with 'same' padding."""

    margin = (0, 0, 0)
    multiple = (8, 8, 8)

    def __init__(self, channels: int = 1, regions: int = 1) -> None:
        super().__init__()
        before = (channels, *(second for _, second in _UNET_CHANNELS))
        self.down = nn.ModuleList(_two(a, b, c) for a, (b, c) in zip(before, _UNET_CHANNELS, strict=False))
        steps = list(itertools.pairwise(before[1:]))
        self.up = nn.ModuleList(nn.ConvTranspose3d(below, below, 2, stride=2, bias=False) for _, below in steps)
        self.joined = nn.ModuleList(_two(width + below, width, width) for width, below in steps)
        self.answer = nn.Conv3d(before[1], regions, 1)

    def forward(self, patch: Tensor) -> Tensor:
        """Logits ``[batch, region, z, y, x]`` of a patch ``[batch, sequence, z, y, x]``."""
        features = [self.down[0](patch)]
        for block in self.down[1:]:
            features.append(block(functional.max_pool3d(features[-1], 2)))
        result = features.pop()
        for level in reversed(range(len(features))):
            result = self.joined[level](torch.cat((features[level], self.up[level](result)), dim=1))
        return self.answer(result)


class VNet(nn.Module):
    """V-Net of Milletari 2016; the number of sequences divides 16, because the input is repeated onto 16 channels."""

    margin = (0, 0, 0)
    multiple = (16, 16, 16)

    def __init__(self, channels: int = 1, regions: int = 1) -> None:
        super().__init__()
        self.entry = InputTransition(3, channels, 16, "prelu")
        self.down = nn.ModuleList(DownTransition(3, *step, "prelu") for step in _VNET_DOWN)
        self.up = nn.ModuleList(UpTransition(3, *step, "prelu", dropout_prob=(None, 0.0)) for step in _VNET_UP)
        self.answer = OutputTransition(3, _VNET_UP[-1][1], regions, "prelu")

    def forward(self, patch: Tensor) -> Tensor:
        """Logits ``[batch, region, z, y, x]`` of a patch ``[batch, sequence, z, y, x]``."""
        features = [self.entry(patch)]
        for transition in self.down:
            features.append(transition(features[-1]))
        result = features.pop()
        for transition, skip in zip(self.up, reversed(features), strict=True):
            result = transition(result, skip)
        return self.answer(result)


def _two(in_channels: int, middle: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        Convolution(3, in_channels, middle, norm="batch", act="relu"),
        Convolution(3, middle, out_channels, norm="batch", act="relu"),
    )
