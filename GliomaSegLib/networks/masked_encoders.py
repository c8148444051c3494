"""An encoder per sequence whose features are masked where a case lacks the sequence, as RFNet and mmFormer fuse them.

A missing sequence is not an image of zeros that is encoded: its features are 0 by a boolean mask, so the content of
its channel does not matter, and the encoder of a sequence that no case of the batch has is not run at all.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from GliomaSegLib.case import Modality

SEQUENCES = (Modality.T2F, Modality.T1C, Modality.T1N, Modality.T2W)
"""The channel order of both published networks."""


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
