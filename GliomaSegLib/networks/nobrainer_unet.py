"""The 3D U-Net of nobrainer (github.com/neuronets/nobrainer, ``models/unet.py``), after Cicek et al. 2016.

======= =================== =================================
level   convolutions down   convolutions up
======= =================== =================================
1       1 -> 16 -> 32       96 -> 32 -> 32, then 1x1x1 to 1
2       32 -> 32 -> 64      192 -> 64 -> 64
3       64 -> 64 -> 128     384 -> 128 -> 128
4       128 -> 128 -> 256
======= =================== =================================

Convolutions are 3x3x3, each followed by the activation, if wanted with batch normalisation before it; maximum pooling
on the way down, transposed convolutions of 2x2x2 that keep the channels on the way up, whose result is put behind that
of the way down. Edges are multiples of 8.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

Activation = Literal["relu", "elu"]
_KERAS_EPSILON = 1e-3  # of its batch normalisation


class NobrainerUNet(nn.Module):
    """Logits ``[batch, 1, ...]`` for images ``[batch, 1, ...]``.

    Attributes:
        convolutions: all of them, the transposed ones too, in the order in which an image meets them.
        normalisations: one behind each but the transposed and the last, in the same order; none without them.
    """

    def __init__(self, activation: Activation = "relu", normalised: bool = False) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList()
        self.normalisations = nn.ModuleList()
        self._normalised = normalised
        self._activation = {"relu": nn.ReLU, "elu": nn.ELU}[activation]()
        for channels, between, out in ((1, 16, 32), (32, 32, 64), (64, 64, 128), (128, 128, 256)):
            self._add_two(channels, between, out)
        for below, beside in ((256, 128), (128, 64), (64, 32)):
            self.convolutions.append(nn.ConvTranspose3d(below, below, 2, stride=2))
            self._add_two(beside + below, beside, beside)
        self.convolutions.append(nn.Conv3d(32, 1, 1))

    def _add_two(self, channels: int, between: int, out: int) -> None:
        for given, made in ((channels, between), (between, out)):
            self.convolutions.append(nn.Conv3d(given, made, 3, padding=1))
            if self._normalised:
                self.normalisations.append(nn.BatchNorm3d(made, eps=_KERAS_EPSILON))

    def forward(self, image: Tensor) -> Tensor:
        layers, norms = iter(self.convolutions), iter(self.normalisations)

        def two(found: Tensor) -> Tensor:
            for _ in range(2):
                found = next(layers)(found)
                found = self._activation(next(norms)(found) if self._normalised else found)
            return found

        passed = []
        found = two(image)
        for _ in range(3):
            passed.append(found)
            found = two(nn.functional.max_pool3d(found, 2))
        for beside in reversed(passed):
            found = two(torch.cat((beside, next(layers)(found)), dim=1))
        return next(layers)(found)
