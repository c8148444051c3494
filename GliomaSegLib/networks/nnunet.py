"""The 3D full-resolution U-Net that nnU-Net planned for Helland 2023, built from MONAI's DynUNet.

Helland RH et al. Segmentation of glioblastomas in early post-operative multi-modal MRI with deep neural networks.
Sci Rep 2023;13:18897. The method: Isensee F et al. nnU-Net. Nat Methods 2021;18:203-211.

======= ========================= ============ =================== ========================
level   two convolutions each     channels     size (z, y, x)      reached by a stride of
======= ========================= ============ =================== ========================
1       1x3x3                     32           80 x 192 x 128
2       3x3x3                     64           80 x 96 x 64        1 x 2 x 2
3       3x3x3                     128          40 x 48 x 32        2 x 2 x 2
4       3x3x3                     256          20 x 24 x 16        2 x 2 x 2
5       3x3x3                     320          10 x 12 x 8         2 x 2 x 2
======= ========================= ============ =================== ========================

and up again with transposed convolutions of the same strides and two 3x3x3 convolutions per level, at level 1 too as in
nnU-Net 1.7, which the paper used. Each convolution is followed by instance normalisation and leaky ReLU (0.01), as
there. The paper states patch, spacing (0.5 x 0.5 x 1.0 mm), kernels and channels, but not the strides: here the first
one halves the plane only, as nnU-Net does until the voxels are about isotropic; a first kernel of 1x3x3 fits that. Its
192 x 128 x 80 is read as y, x, z: the 1 mm axis is the short one, and a brain is longer than wide.

Where MONAI differs from nnU-Net: its convolutions have no bias, which instance normalisation would cancel anyway; and
in training it upsamples the coarse outputs to full size, which the class below does not do.
"""

from __future__ import annotations

from monai.networks.nets import DynUNet
from torch import Tensor

PATCH = (80, 192, 128)

_FILTERS = (32, 64, 128, 256, 320)
_KERNELS = ((1, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3), (3, 3, 3))
_STRIDES = ((1, 1, 1), (1, 2, 2), (2, 2, 2), (2, 2, 2), (2, 2, 2))
# nnU-Net supervises all resolutions but the two coarsest: levels 1 to 3 of these five.
_SUPERVISED_BELOW_FULL = 2


class NnUNet(DynUNet):
    """Region logits; in training mode those of the first three levels, finest first."""

    margin = (0, 0, 0)
    multiple = (8, 16, 16)

    def __init__(self, channels: int = 4, regions: int = 3) -> None:
        super().__init__(
            spatial_dims=3,
            in_channels=channels,
            out_channels=regions,
            kernel_size=_KERNELS,
            strides=_STRIDES,
            upsample_kernel_size=_STRIDES[1:],
            filters=_FILTERS,
            deep_supervision=True,
            deep_supr_num=_SUPERVISED_BELOW_FULL,
        )

    def forward(self, patch: Tensor) -> Tensor | tuple[Tensor, ...]:
        """Logits ``[batch, region, z, y, x]`` of a patch ``[batch, sequence, z, y, x]``; in training mode three."""
        logits = self.output_block(self.skip_layers(patch))
        return (logits, *self.heads) if self.training else logits
