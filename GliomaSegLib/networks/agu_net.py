"""AGU-Net: a U-Net over the whole head with attention gates, multi-scale input and deep supervision.

Helland RH et al. Segmentation of glioblastomas in early post-operative multi-modal MRI with deep neural networks.
Sci Rep 2023;13:18897. The network: Bouget D et al. Meningioma segmentation in T1-weighted MRI leveraging global context
and attention mechanisms. Front Radiol 2021;1:711514.

======= ========== ================ ======================================= ==============================
level   channels   size (z, y, x)   on the way down                         on the way up
======= ========== ================ ======================================= ==============================
1       16         144 x 128 x 128  block                                   gate, block, output
2       32         72 x 64 x 64     pooled + image at 1/2, block            gate, block, output
3       128        36 x 32 x 32     pooled + image at 1/4, block            gate, block, output
4       256        18 x 16 x 16     pooled + image at 1/8, block            gate, block, output
5       256        9 x 8 x 8        pooled, block
======= ========== ================ ======================================= ==============================

The paper gives the size, the five levels and their channels, and the three additions, and says that the input of
128 x 128 x 144 (read as x, y, z) is the whole volume. It does not specify the following, which was chosen here:

* block: two 3x3x3 convolutions, each with batch normalisation and ReLU (MONAI's); 2x2x2 max pooling between levels;
* multi-scale input and deep supervision as in Abraham and Khan (arXiv:1810.07842): the image averaged
  over 2, 4 and 8 voxels passes one convolution and is concatenated with the pooled features; every decoder level has an
  output of its own;
* attention gate as in Schlemper J et al., Med Image Anal 2019;53:197-207: the level below decides, at its own
  resolution, which of a level's features pass. MONAI's AttentionUnet gates after up-sampling and has neither
  multi-scale input nor deep supervision; therefore it is not used.
"""

from __future__ import annotations

import itertools

import torch
from monai.networks.nets.attentionunet import ConvBlock
from torch import Tensor, nn
from torch.nn import functional

PATCH = (144, 128, 128)

_FILTERS = (16, 32, 128, 256, 256)


class AttentionGate(nn.Module):
    """Multiplies each voxel's features by a factor between 0 and 1, computed from the coarser level."""

    def __init__(self, channels: int, coarse_channels: int) -> None:
        super().__init__()
        inner = max(channels // 2, 1)
        self.features = nn.Conv3d(channels, inner, 2, stride=2, bias=False)
        self.gating = nn.Conv3d(coarse_channels, inner, 1)
        self.attention = nn.Conv3d(inner, 1, 1)
        self.passed = nn.Sequential(nn.Conv3d(channels, channels, 1), nn.BatchNorm3d(channels))

    def forward(self, features: Tensor, coarse: Tensor) -> Tensor:
        """``features`` ``[batch, channel, z, y, x]`` gated by ``coarse``, which has half their edges."""
        relevance = self.attention(functional.relu(self.features(features) + self.gating(coarse))).sigmoid()
        full = functional.interpolate(relevance, size=features.shape[2:], mode="trilinear", align_corners=False)
        return self.passed(features * full)


class AguNet(nn.Module):
    """Region logits; in training mode those of levels 1 to 4."""

    margin = (0, 0, 0)
    multiple = (16, 16, 16)

    def __init__(self, channels: int = 4, regions: int = 3) -> None:
        super().__init__()
        pairs = list(itertools.pairwise(_FILTERS))
        scaled = _FILTERS[1:-1]
        self.scaled = nn.ModuleList(
            nn.Sequential(nn.Conv3d(channels, width, 3, padding=1), nn.ReLU()) for width in scaled
        )
        self.down = nn.ModuleList([ConvBlock(3, channels, _FILTERS[0])])
        for level, (above, width) in enumerate(pairs):
            joined = above + width if level < len(scaled) else above
            self.down.append(ConvBlock(3, joined, width))
        self.up = nn.ModuleList(nn.ConvTranspose3d(below, width, 2, stride=2) for width, below in pairs)
        self.gates = nn.ModuleList(AttentionGate(width, below) for width, below in pairs)
        self.joined = nn.ModuleList(ConvBlock(3, 2 * width, width) for width, _ in pairs)
        self.answers = nn.ModuleList(nn.Conv3d(width, regions, 1) for width, _ in pairs)

    def forward(self, volume: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits ``[batch, region, z, y, x]`` of a volume ``[batch, sequence, z, y, x]``.

        In training mode four of them: at full size, a half, a quarter and an eighth of it.
        """
        features = [self.down[0](volume)]
        for level, block in enumerate(self.down[1:]):
            pooled = functional.max_pool3d(features[-1], 2)
            if level < len(self.scaled):
                image = self.scaled[level](functional.avg_pool3d(volume, 2 ** (level + 1)))
                pooled = torch.cat((pooled, image), dim=1)
            features.append(block(pooled))
        coarse = features.pop()
        answers: list[Tensor] = []
        for level in reversed(range(len(features))):
            gated = self.gates[level](features[level], coarse)
            coarse = self.joined[level](torch.cat((gated, self.up[level](coarse)), dim=1))
            if self.training or level == 0:
                answers.insert(0, self.answers[level](coarse))
        return tuple(answers) if self.training else answers[0]
