"""The dilated 3D U-Net of resseg, which finds resection cavities on T1.

Perez-Garcia F et al. A self-supervised learning strategy for postoperative brain cavity segmentation simulating
resections. Int J CARS 16:1653-1661, 2021; as built by github.com/fepegar/resseg with the package ``unet``.

============== ============== ========== ========================= ============
block          channels       dilation   edges of the convolutions resolution
============== ============== ========== ========================= ============
encoder 1      1 -> 8 -> 16   1          replicated, zero          1
encoder 2      16 -> 16 -> 32 2          replicated, zero          1/2
bottom         32 -> 32 -> 64 4          replicated, zero          1/4
decoder 1      96 -> 32 -> 32 4          replicated                1/2
decoder 2      48 -> 16 -> 16 2          replicated                1
============== ============== ========== ========================= ============

Convolutions are 3x3x3, each followed by batch normalisation (but the first) and a PReLU with one slope; between levels
are maximum pooling and trilinear interpolation; a 1x1x1 convolution gives two classes. Edges must be multiples of 4.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Literal

import torch
from torch import Tensor, nn

_Edges = Literal["replicate", "zeros"]
_REPLICATED: _Edges = "replicate"
_ZERO: _Edges = "zeros"


class RessegUNet(nn.Module):
    """Logits of background and cavity ``[batch, 2, ...]`` for T1 ``[batch, 1, ...]``."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder_1 = _block(1, 8, 16, 1, _ZERO, first_is_normalised=False)
        self.encoder_2 = _block(16, 16, 32, 2, _ZERO)
        self.bottom = _block(32, 32, 64, 4, _ZERO)
        self.decoder_1 = _block(96, 32, 32, 4, _REPLICATED)
        self.decoder_2 = _block(48, 16, 16, 2, _REPLICATED)
        self.classifier = nn.Conv3d(16, 2, 1)
        self.down = nn.MaxPool3d(2)
        self.up = nn.Upsample(scale_factor=2, mode="trilinear", align_corners=False)

    def forward(self, image: Tensor) -> Tensor:
        full = self.encoder_1(image)
        half = self.encoder_2(self.down(full))
        found = self.bottom(self.down(half))
        found = self.decoder_1(torch.cat((half, self.up(found)), dim=1))
        found = self.decoder_2(torch.cat((full, self.up(found)), dim=1))
        return self.classifier(found)


def _block(
    channels: int, between: int, out: int, dilation: int, second_edges: _Edges, first_is_normalised: bool = True
) -> nn.Sequential:
    return nn.Sequential(
        OrderedDict(
            first=_layer(channels, between, dilation, _REPLICATED, first_is_normalised),
            second=_layer(between, out, dilation, second_edges, True),
        )
    )


def _layer(channels: int, out: int, dilation: int, edges: _Edges, is_normalised: bool) -> nn.Sequential:
    convolution = nn.Conv3d(
        channels, out, 3, padding=dilation, dilation=dilation, padding_mode=edges, bias=not is_normalised
    )
    normalisation = OrderedDict(norm=nn.BatchNorm3d(out)) if is_normalised else OrderedDict()
    return nn.Sequential(OrderedDict(conv=convolution, **normalisation, slope=nn.PReLU()))
