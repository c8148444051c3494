"""AR-CA: CA-CNN's networks, regularised in training by an autoencoder branch that reconstructs the image.

Lotan E et al. Development and practical implementation of a deep learning-based pipeline for automated pre- and
postoperative glioma segmentation. AJNR Am J Neuroradiol 2022;43:24-32. Its parts: Wang G et al., CA-CNN,
arXiv:1709.00382, and Myronenko A, autoencoder regularisation, arXiv:1810.11654.

===================== ============================================== ======================= ===================
step                  layers                                         WNet, 19 x 144 x 144    channels
===================== ============================================== ======================= ===================
CA-CNN                see :mod:`GliomaSegLib.networks.ca_cnn`        output 11 x 144 x 144   32; 1
code                  GroupNorm, ReLU, 3x3 stride 2, dense           11 x 18 x 18, 256       16
\\                     128 means and 128 variances; one sample        128
spread                dense, ReLU, 1x1, twice the plane              11 x 36 x 36            16 32
up, per halving       residual block, twice the plane                11 x 72 x 72; 144 x 144 32
image                 residual block, 1x1                            11 x 144 x 144          4
===================== ============================================== ======================= ===================

WNet and TNet halve the plane twice, ENet once, each with a branch of its own; for each of the three views there is a
separate training on the turned volume. A trained network is a CA-CNN: the branch is dropped, and the network runs in
the same cascade and fusion of three views as the published weights (:mod:`GliomaSegLib.inference.cascade`).

The paper states that the two published networks are combined and that the branch is used in training only. It does not
specify the following, which was chosen here: the branch starts at the last fuse layer, the end of the encoder; its
layers are Myronenko's with CA-CNN's 32 channels and convolutions in the slice; it reconstructs the 11 central slices of
a window. The text names batch normalisation, its Figure 1 GroupNorm: here the shared part has batch normalisation, as
CA-CNN has it, and the branch GroupNorm, as Myronenko's. MONAI's SegResNetVAE has an isotropic encoder.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.networks.ca_cnn import (
    CHANNELS,
    MARGIN_SLICES,
    OUTPUT_SLICES,
    WINDOW_SLICES,
    AnisotropicNet,
    ConvNormPReLU,
    NormPReLU,
    ResidualBlock,
)

# Slices and in-plane edges of CA-CNN's training windows.
WNET_PATCH, TNET_PATCH, ENET_PATCH = (WINDOW_SLICES, 144, 144), (WINDOW_SLICES, 96, 96), (WINDOW_SLICES, 64, 64)

_CODE = 128
_SQUEEZED_CHANNELS = 16
_GROUPS = 8


@dataclass(frozen=True)
class Regularised:
    """The network's outputs in training mode; the loss on the last four is ``training.losses.autoencoder``.

    Attributes:
        logits: ``[batch, 1, 11, height, width]``.
        reconstruction, original: of the central slices, ``[batch, sequence, 11, height, width]``.
        mean, log_variance: of the code, ``[batch, 128]``.
    """

    logits: Tensor
    reconstruction: Tensor
    original: Tensor
    mean: Tensor
    log_variance: Tensor


class AutoencoderRegularised(nn.Module):
    """WNet, TNet (``downsample_twice=True``) or ENet (``False``) with its autoencoder branch.

    Attributes:
        segmentation: the CA-CNN network, all that is kept after training.

    Args:
        channels: sequences.
        plane: rows and columns of the windows, which the dense layers fix; multiples of 8, for ENet of 4.

    Raises:
        ValueError: ``plane`` is not such a multiple.
    """

    margin = (MARGIN_SLICES, 0, 0)

    def __init__(
        self, channels: int = 4, plane: tuple[int, int] = WNET_PATCH[1:], downsample_twice: bool = True
    ) -> None:
        super().__init__()
        self.segmentation = AnisotropicNet(channels, downsample_twice)
        multiple = 2 * self.segmentation.in_plane_multiple
        if any(edge % multiple for edge in plane):
            raise ValueError(f"a plane of {plane[0]} x {plane[1]}, not multiples of {multiple}")
        self.branch = _AutoencoderBranch(channels, (plane[0] // multiple, plane[1] // multiple), multiple)

    def forward(self, windows: Tensor) -> Tensor | Regularised:
        """Logits ``[batch, 1, 11, height, width]`` of windows ``[batch, sequence, 19, height, width]``."""
        logits, deepest = window_logits(self.segmentation, windows)
        if not self.training:
            return logits
        reconstruction, mean, log_variance = self.branch(deepest)
        original = windows[:, :, MARGIN_SLICES:-MARGIN_SLICES]
        return Regularised(logits, reconstruction, original, mean, log_variance)


def window_logits(network: AnisotropicNet, windows: Tensor) -> tuple[Tensor, Tensor]:
    """A CA-CNN network on separate windows, differentiable: the way to train it.

    Its own ``forward`` gives the same output for inference, sharing the slices of overlapping windows. Here as there
    batch normalisation uses the statistics of the batch at all times.

    Args:
        windows: ``[batch, sequence, slices, height, width]``, height and width multiples of ``in_plane_multiple``;
            19 slices in CA-CNN, any number from 9 here.

    Returns:
        The logit ``[batch, 1, slices - 8, height, width]``, whose sigmoid is the softmax of the network's two channels,
        and the features at the end of the encoder, ``[batch, 32, slices - 8, ...]``.
    """
    batch = len(windows)
    level1 = _fused(network.fuse1, _blocks((network.block1_1, network.block1_2), _stacked(windows)), batch)
    if network.downsample_twice:
        level1 = _layer(network.downsample1, level1)
    level2 = _fused(network.fuse2, _blocks((network.block2_1, network.block2_2), level1), batch)
    deep = _blocks((network.block3_1, network.block3_2, network.block3_3), _layer(network.downsample2, level2))
    level3 = _fused(network.fuse3, deep, batch)
    level4 = _fused(network.fuse4, _blocks((network.block4_1, network.block4_2, network.block4_3), level3), batch)

    middle = _layer(network.pred_up2_1, _central(level3, batch, 1))
    deepest = _layer(network.pred_up3_1, level4)
    if network.downsample_twice:
        shallow = _layer(network.pred_up1, _central(level2, batch, 2))
        middle, deepest = _layer(network.pred_up2_2, middle), _layer(network.pred_up3_2, deepest)
    else:
        shallow = network.pred1(_central(level2, batch, 2))
    scores = network.final_pred(torch.cat((shallow, middle, deepest), dim=1))
    return _windows(scores[:, 1:] - scores[:, :1], batch), _windows(level4, batch)


def _stacked(windows: Tensor) -> Tensor:
    """``[batch, channel, slice, height, width]`` as ``[batch * slice, channel, height, width]``, channels last."""
    return windows.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)


def _windows(stack: Tensor, batch: int) -> Tensor:
    """The reverse of :func:`_stacked`."""
    return stack.unflatten(0, (batch, -1)).transpose(1, 2)


def _central(stack: Tensor, batch: int, margin: int) -> Tensor:
    """Every window of the stack without ``margin`` slices at either end."""
    return stack.unflatten(0, (batch, -1))[:, margin:-margin].flatten(0, 1)


def _normalised(norm: NormPReLU, stack: Tensor) -> Tensor:
    values = functional.batch_norm(stack, None, None, norm.gamma, norm.beta, training=True)
    return functional.prelu(values, norm.alpha.to(values.dtype))


def _blocks(blocks: tuple[ResidualBlock, ...], stack: Tensor) -> Tensor:
    for block in blocks:
        branch = block.conv_0(_normalised(block.norm_0, stack))
        branch = block.conv_1(_normalised(block.norm_1, branch))
        padding = (CHANNELS - stack.shape[1]) // 2
        stack = branch + functional.pad(stack, (0, 0, 0, 0, padding, padding))
    return stack


def _layer(layer: ConvNormPReLU, stack: Tensor) -> Tensor:
    return _normalised(layer.norm, layer.conv(stack))


def _fused(layer: ConvNormPReLU, stack: Tensor, batch: int) -> Tensor:
    """A fuse layer on each window: a plain 3 x 1 convolution with slices as rows and pixels as columns."""
    rows = _windows(stack, batch).flatten(3)
    fused = functional.conv2d(rows, layer.conv.weight).unflatten(3, stack.shape[2:])
    return _normalised(layer.norm, _stacked(fused))


class _AutoencoderBranch(nn.Module):
    """The encoder's last features to a code; the code to an image whose plane is ``widening`` times ``plane``."""

    def __init__(self, channels: int, plane: tuple[int, int], widening: int) -> None:
        super().__init__()
        self.shape = (_SQUEEZED_CHANNELS, OUTPUT_SLICES, *plane)
        values = _SQUEEZED_CHANNELS * OUTPUT_SLICES * plane[0] * plane[1]
        self.squeeze = nn.Sequential(
            nn.GroupNorm(_GROUPS, CHANNELS), nn.ReLU(), nn.Conv2d(CHANNELS, _SQUEEZED_CHANNELS, 3, stride=2, padding=1)
        )
        self.code = nn.Linear(values, 2 * _CODE)
        self.spread = nn.Sequential(nn.Linear(_CODE, values), nn.ReLU())
        layers: list[nn.Module] = [nn.Conv2d(_SQUEEZED_CHANNELS, CHANNELS, 1)]
        for _ in range(widening.bit_length() - 1):
            layers += [nn.Upsample(scale_factor=2, mode="bilinear", align_corners=False), _GroupNormBlock()]
        self.image = nn.Sequential(*layers, nn.Conv2d(CHANNELS, channels, 1))

    def forward(self, deepest: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Reconstruction ``[batch, sequence, 11, height, width]``, mean and logarithm of the variance of the code."""
        batch = len(deepest)
        squeezed = _windows(self.squeeze(_stacked(deepest)), batch)
        mean, log_variance = self.code(squeezed.flatten(1)).chunk(2, dim=1)
        sample = mean + (log_variance / 2).exp() * torch.randn_like(mean)
        spread = self.spread(sample).unflatten(1, self.shape)
        return _windows(self.image(_stacked(spread)), batch), mean, log_variance


class _GroupNormBlock(nn.Module):
    """Myronenko's residual block, in the slice."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for _ in range(2):
            layers += [nn.GroupNorm(_GROUPS, CHANNELS), nn.ReLU(), nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1)]
        self.branch = nn.Sequential(*layers)

    def forward(self, stack: Tensor) -> Tensor:
        return stack + self.branch(stack)
