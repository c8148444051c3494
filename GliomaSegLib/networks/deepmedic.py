"""DeepMedic as Eijgelaar 2020 trained it: two pathways, one of them at a third of the resolution.

Eijgelaar RS et al. Robust deep learning-based segmentation of glioblastoma on routine clinical MRI scans using
sparsified training. Radiol Artif Intell 2020;2(5):e190103. The network: Kamnitsas K et al. Efficient multi-scale 3D CNN
with fully connected CRF for accurate brain lesion segmentation. Med Image Anal 2017;36:61-78, in the NiftyNet version.

=============== ================================== ==================== ===============
step            layers                             size for 57^3        channels
=============== ================================== ==================== ===============
fine pathway    the central part                   25^3                 sequences
\\               8 x 3x3x3, no padding              9^3                  30 30 40 40 40 40 50 50
coarse pathway  means of 3x3x3 voxels              19^3                 sequences
\\               8 x 3x3x3, no padding              3^3                  30 30 40 40 40 40 50 50
\\               each voxel repeated 3x3x3          9^3                  50
together        concatenated, 3 x 1x1x1            9^3                  100 150 150 regions
=============== ================================== ==================== ===============

Every convolution but the last is followed by batch normalisation and PReLU. The paper states the two pathways, the
depth of 11, the sizes 57 and 9 and the factor 3, and that it is NiftyNet's DeepMedic; the channels are Kamnitsas' and
NiftyNet's. NiftyNet also normalises and rectifies the last layer, which makes no sense before a sigmoid: not done here.
As in NiftyNet, and unlike Kamnitsas' later version, there are no residual connections and no dropout. MONAI lacks it.
"""

from __future__ import annotations

import torch
from monai.networks.blocks import Convolution
from torch import Tensor, nn
from torch.nn import functional

FACTOR = 3
_PATHWAY_CHANNELS = (30, 30, 40, 40, 40, 40, 50, 50)
_COMMON_CHANNELS = (150, 150)


class DeepMedic(nn.Module):
    """Region logits for the central part of a patch."""

    margin = (8 * FACTOR,) * 3

    def __init__(self, channels: int = 4, regions: int = 3) -> None:
        super().__init__()
        self.fine = _pathway(channels)
        self.coarse = _pathway(channels)
        before = (2 * _PATHWAY_CHANNELS[-1], *_COMMON_CHANNELS)
        layers = [_layer(a, b, 1) for a, b in zip(before, _COMMON_CHANNELS, strict=False)]
        self.common = nn.Sequential(*layers, nn.Conv3d(before[-1], regions, 1))

    def forward(self, patch: Tensor) -> Tensor:
        """Logits ``[batch, region, z - 48, y - 48, x - 48]`` of a patch ``[batch, sequence, z, y, x]``.

        Raises:
            ValueError: an edge of the patch is not an odd multiple of 3 above 48, so that the pathways do not meet.
        """
        if any(edge <= 2 * self.margin[0] or edge % FACTOR or edge % 2 == 0 for edge in patch.shape[2:]):
            raise ValueError(f"a patch of {tuple(patch.shape[2:])}; DeepMedic takes odd multiples of 3 from 51 on")
        # Eight convolutions take 8 coarse voxels = 24 fine ones off either side; the fine pathway needs 8 of them.
        crop = self.margin[0] - 8
        fine = self.fine(patch[:, :, crop:-crop, crop:-crop, crop:-crop])
        coarse = self.coarse(functional.avg_pool3d(patch, FACTOR))
        repeated = functional.interpolate(coarse, scale_factor=float(FACTOR), mode="nearest")
        return self.common(torch.cat((fine, repeated), dim=1))


def _pathway(channels: int) -> nn.Sequential:
    before = (channels, *_PATHWAY_CHANNELS)
    return nn.Sequential(*(_layer(a, b, 3) for a, b in zip(before, _PATHWAY_CHANNELS, strict=False)))


def _layer(in_channels: int, out_channels: int, kernel: int) -> Convolution:
    prelu = ("prelu", {"num_parameters": out_channels})
    return Convolution(3, in_channels, out_channels, kernel_size=kernel, padding=0, bias=False, norm="batch", act=prelu)
