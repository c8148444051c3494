"""What RFNet and mmFormer share: an encoder per sequence, masked where a case lacks the sequence, and a decoder.

A missing sequence is not an image of zeros that is encoded: its features are 0 by a boolean mask, so the content of
its channel does not matter, and the encoder of a sequence that no case of the batch has is not run at all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.case import Modality

SEQUENCES = (Modality.T2F, Modality.T1C, Modality.T1N, Modality.T2W)
"""The channel order of both published networks."""

CLASSES = 4
"""Background, NCR/NET (label 1 of BraTS), oedema (2), enhancing tumour (4)."""


class FusionDecoder(nn.Module):
    """The decoder; ``widths``: channels of every level, finest first."""

    def __init__(self, widths: Sequence[int], convolution: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.lifts = nn.ModuleList(convolution(2 * own, own) for own in widths[:-1])
        self.joins = nn.ModuleList(
            nn.Sequential(convolution(2 * own, own), convolution(own, own, 1)) for own in widths[:-1]
        )
        self.answer = nn.Conv3d(widths[0], CLASSES, 1)

    def decoded(self, deepest: Tensor, fuse: Callable[[int, Tensor], Tensor]) -> Tensor:
        """Class logits ``[batch, class, z, y, x]`` from the fused features of the coarsest level; ``fuse`` gives those
        of the others by level (0 is the finest) and the upsampled features of the level below."""
        for level in reversed(range(len(self.lifts))):
            below = functional.interpolate(deepest, scale_factor=2.0, mode="trilinear", align_corners=True)
            below = self.lifts[level](below)
            deepest = self.joins[level](torch.cat((fuse(level, below), below), dim=1))
        return self.answer(deepest)


def masked_features(encoders: nn.ModuleList, images: Tensor, present: Tensor) -> list[Tensor]:
    """The features of every level, ``[batch, sequence, channel, z, y, x]``, finest first.

    Args:
        encoders: one per sequence; each takes ``[batch, 1, z, y, x]`` and gives a list of features, one per level.
        images: ``[batch, sequence, z, y, x]``.
        present: ``bool [batch, sequence]``, which sequences each case has; on the CPU.

    Raises:
        ValueError: a case has no sequence, or ``present`` is not of this shape.
    """
    if present.shape != (len(images), len(encoders)) or not present.any(dim=1).all():
        raise ValueError("'present' says for each case and sequence whether it is there, and one of them is")
    encoded = [
        encoder(images[:, place : place + 1]) if present[:, place].any() else None
        for place, encoder in enumerate(encoders)
    ]
    like = next(levels for levels in encoded if levels is not None)
    return [
        torch.stack(
            [
                torch.zeros_like(like[level]) if levels is None else _masked(levels[level], present[:, place])
                for place, levels in enumerate(encoded)
            ],
            dim=1,
        )
        for level in range(len(like))
    ]


def _masked(features: Tensor, present: Tensor) -> Tensor:
    if present.all():
        return features
    return torch.where(present.to(features.device)[:, None, None, None, None], features, torch.zeros_like(features))
