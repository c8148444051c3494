"""RFNet: four encoders whose features are fused region by region, for any subset of the sequences.

Ding Y, Yu X, Yang Y. RFNet: region-aware fusion network for incomplete multi-modal brain tumor segmentation. ICCV 2021.

======= ============ ================ ==========================================================================
level   channels     size for 80^3    on the way up
======= ============ ================ ==========================================================================
1       16           80^3             fused, joined, output
2       32           40^3             fused, joined
3       64           20^3             fused, joined
4       128          10^3             fused
======= ============ ================ ==========================================================================

Each encoder has three 3x3x3 convolutions a level, the last two around a sum; the first of levels 2 to 4 has stride 2.
Every convolution is padded by reflection and followed by instance normalisation without parameters and leaky ReLU
(0.2). On every level of the decoder the sequences' features give a map of the four classes, and with these maps as
weights the features of each class are averaged over the volume; from the averages a small network computes the
weight of each sequence for that class. The parts that only training uses, the decoder that the sequences share and the
losses on the maps, are left out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.networks.masked_encoders import CLASSES, SEQUENCES, FusionDecoder, masked_features

_LEVELS = 4
_SLOPE = 0.2  # of the leaky ReLU
_MAP_CHANNELS, _WEIGHT_CHANNELS = 16, 128
_LEAST_SHARE = 1e-7  # of the volume: avoids a division by 0


class RFNet(FusionDecoder):
    """Class logits of a patch, for any subset of the sequences.

    Args:
        width: channels of the first level.
    """

    multiple = (2 ** (_LEVELS - 1),) * 3

    def __init__(self, width: int = 16) -> None:
        widths = [width * 2**level for level in range(_LEVELS)]
        super().__init__(widths, _Convolution)
        self.encoders = nn.ModuleList(_Encoder(widths) for _ in SEQUENCES)
        self.maps = nn.ModuleList(_RegionMap(own, deepest=own == widths[-1]) for own in widths)
        self.fusions = nn.ModuleList(_RegionAwareFusion(own) for own in widths)

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        """Logits ``[batch, class, z, y, x]``.

        Args:
            images: ``[batch, sequence, z, y, x]`` in the order of
                :data:`~GliomaSegLib.networks.masked_encoders.SEQUENCES`; the content of a missing one does not matter.
            present: ``bool [batch, sequence]``, on the CPU.
        """
        features = masked_features(self.encoders, images, present)

        def fuse(level: int, below: Tensor | None) -> Tensor:
            return self.fusions[level](features[level], self.maps[level](features[level], below))

        return self.decoded(fuse(_LEVELS - 1, None), fuse)


class _Convolution(nn.Module):
    """Convolution with reflection, instance normalisation, leaky ReLU."""

    def __init__(self, channels: int, width: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, width, kernel, stride, padding=kernel // 2, padding_mode="reflect")
        self.norm = nn.InstanceNorm3d(width)

    def forward(self, features: Tensor) -> Tensor:
        return functional.leaky_relu(self.norm(self.conv(features)), _SLOPE)


class _Encoder(nn.Module):
    """One sequence ``[batch, 1, z, y, x]`` to its features on every level, finest first."""

    def __init__(self, widths: list[int]) -> None:
        super().__init__()
        self.first = nn.ModuleList(
            _Convolution(before, own, stride=1 if before == 1 else 2)
            for before, own in zip([1, *widths], widths, strict=False)
        )
        self.second = nn.ModuleList(_Convolution(own, own) for own in widths)
        self.third = nn.ModuleList(_Convolution(own, own) for own in widths)

    def forward(self, image: Tensor) -> list[Tensor]:
        features, last = [], image
        for first, second, third in zip(self.first, self.second, self.third, strict=True):
            last = first(last)
            last = last + third(second(last))
            features.append(last)
        return features


class _RegionMap(nn.Module):
    """Where each class is, ``[batch, class, z, y, x]``, from the sequences' features and what is decoded so far."""

    def __init__(self, width: int, deepest: bool) -> None:
        super().__init__()
        self.embedding = _bottleneck(len(SEQUENCES) * width, width // 4, width)
        self.joined = _Convolution(width if deepest else 2 * width, _MAP_CHANNELS, 1)
        self.answer = nn.Conv3d(_MAP_CHANNELS, CLASSES, 1)

    def forward(self, features: Tensor, decoded: Tensor | None) -> Tensor:
        embedded = self.embedding(features.flatten(1, 2))
        joined = embedded if decoded is None else torch.cat((decoded, embedded), dim=1)
        return self.answer(self.joined(joined)).softmax(dim=1)


class _RegionAwareFusion(nn.Module):
    """The sequences' features ``[batch, sequence, channel, z, y, x]`` to one of ``channel`` channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        count = len(SEQUENCES)
        self.weights = nn.ModuleList(
            nn.Sequential(
                nn.Linear(count * width + 1, _WEIGHT_CHANNELS),
                nn.LeakyReLU(_SLOPE),
                nn.Linear(_WEIGHT_CHANNELS, count),
                nn.Sigmoid(),
            )
            for _ in range(CLASSES)
        )
        self.regions = _bottleneck(CLASSES * width, width, width // 2)
        self.shortcut = _bottleneck(count * width, width, width // 2)

    def forward(self, features: Tensor, maps: Tensor) -> Tensor:
        """``maps [batch, class, z, y, x]`` add up to 1."""
        share = maps.mean(dim=(2, 3, 4)) + _LEAST_SHARE  # [batch, class]
        voxels = maps[0, 0].numel()
        averages = features.flatten(1, 2).flatten(2) @ maps.flatten(2).transpose(1, 2) / voxels  # [batch, ..., class]
        weights = [
            weigh(torch.cat((averages[..., own] / share[:, own, None], share[:, own, None]), dim=1))
            for own, weigh in enumerate(self.weights)
        ]
        weighed = (torch.stack(weights, dim=1) @ features.flatten(2)).unflatten(2, features.shape[2:])
        fused = (weighed * maps[:, :, None]).flatten(1, 2)
        return torch.cat((self.regions(fused), self.shortcut(features.flatten(1, 2))), dim=1)


def _bottleneck(channels: int, middle: int, width: int) -> nn.Sequential:
    return nn.Sequential(
        _Convolution(channels, middle, 1), _Convolution(middle, middle), _Convolution(middle, width, 1)
    )
