"""From a network's answer to the number that training makes smaller."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from GliomaSegLib.networks.ar_ca import Regularised
from GliomaSegLib.training.losses import autoencoder, bce, deep_supervision, dice, weighted_bce

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import LossChoice

Answer = Tensor | Sequence[Tensor] | Regularised


def chosen_loss(
    choice: LossChoice, answer: Answer, targets: Tensor, known: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The recipe's loss of what a network answered for a batch.

    Args:
        answer: logits of the whole patch or its central part, several of them finest first, or AR-CA's.
        targets, known: ``[batch, region, z, y, x]``.
        weights: the same shape, for ``iw-bce``.
    """
    if isinstance(answer, Regularised):
        regularisation = autoencoder(answer.reconstruction, answer.original, answer.mean, answer.log_variance)
        return chosen_loss(choice, answer.logits, targets, known, weights) + choice.autoencoder_weight * regularisation
    targets, known = (central(volume, finest(answer)) for volume in (targets, known))
    if choice.name == "iw-bce":
        return weighted_bce(finest(answer), targets, central(weights, finest(answer)), known)
    there = (targets * known).amax(dim=(0, 2, 3, 4), keepdim=True) > 0.5

    def one(output: Tensor, truth: Tensor, believed: Tensor) -> Tensor:
        loss = torch.zeros((), device=output.device)
        if choice.name != "bce":
            judged = believed if choice.dice_of_absent_regions else believed * there
            loss = loss + dice(output, truth, judged, choice.dice_over_batch)
        if choice.name != "dice":
            loss = loss + bce(output, truth, believed)
        return loss

    return one(answer, targets, known) if isinstance(answer, Tensor) else deep_supervision(one, answer, targets, known)


def finest(answer: Answer) -> Tensor:
    """The logits of full resolution."""
    if isinstance(answer, Regularised):
        return answer.logits
    return answer if isinstance(answer, Tensor) else answer[0]


def central(volume: Tensor, like: Tensor) -> Tensor:
    """The middle of ``volume`` of the size of ``like``, both ``[batch, …, z, y, x]``."""
    margins = [(a - b) // 2 for a, b in zip(volume.shape[-3:], like.shape[-3:], strict=True)]
    box = tuple(slice(margin, margin + edge) for margin, edge in zip(margins, like.shape[-3:], strict=True))
    return volume[(..., *box)]
