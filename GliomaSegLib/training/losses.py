"""Losses on region channels, which ignore the regions without reference labels.

``logits`` and ``targets`` are ``[batch, region, z, y, x]``: one sigmoid channel per region (WT, TC, ET), targets 0 to
1, also soft ones. ``known`` is the mask of known targets: ``[batch, region]`` (for whole cases), ``[batch, region or 1,
z, y, x]`` (per voxel), or ``None`` for all. Unknown targets do not contribute to a loss, its gradient or its
normalisation; if nothing is known, loss and gradient are 0. All is computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.networks.ar_ca import Regularised

if TYPE_CHECKING:
    from GliomaSegLib.training.recipe import LossChoice

Answer = Tensor | Sequence[Tensor] | Regularised

_SMOOTH = 1e-5


def chosen_loss(
    choice: LossChoice, answer: Answer, targets: Tensor, known: Tensor, weights: Tensor | None = None
) -> Tensor:
    """The loss of a batch as the recipe defines it.

    Args:
        answer: logits of the patch or its central part; several with deep supervision, finest first; or AR-CA's output.
        targets, known: ``[batch, region, z, y, x]``.
        weights: voxel weights of the same shape, for ``iw-bce``.
    """
    if isinstance(answer, Regularised):
        regularisation = autoencoder(answer.reconstruction, answer.original, answer.mean, answer.log_variance)
        return chosen_loss(choice, answer.logits, targets, known, weights) + choice.autoencoder_weight * regularisation
    targets, known = (central(volume, finest(answer)) for volume in (targets, known))
    if choice.name == "iw-bce":
        return weighted_bce(finest(answer), targets, central(cast(Tensor, weights), finest(answer)), known)
    there = (targets * known).amax(dim=(0, 2, 3, 4), keepdim=True) > 0.5

    def one(output: Tensor, wanted: Tensor, believed: Tensor) -> Tensor:
        loss = torch.zeros((), device=output.device)
        if choice.name != "bce":
            judged = believed if choice.dice_of_absent_regions else believed * there
            loss = loss + dice(output, wanted, judged, choice.dice_over_batch)
        if choice.name != "dice":
            loss = loss + bce(output, wanted, believed)
        return loss

    return one(answer, targets, known) if isinstance(answer, Tensor) else deep_supervision(one, answer, targets, known)


def finest(answer: Answer) -> Tensor:
    """The logits at full resolution."""
    if isinstance(answer, Regularised):
        return answer.logits
    return answer if isinstance(answer, Tensor) else answer[0]


def central(volume: Tensor, like: Tensor) -> Tensor:
    """The central crop of ``volume`` to the size of ``like``, both ``[batch, …, z, y, x]``."""
    margins = [(a - b) // 2 for a, b in zip(volume.shape[-3:], like.shape[-3:], strict=True)]
    box = tuple(slice(margin, margin + edge) for margin, edge in zip(margins, like.shape[-3:], strict=True))
    return volume[cast(Any, (..., *box))]


def dice(logits: Tensor, targets: Tensor, known: Tensor | None = None, over_batch: bool = True) -> Tensor:
    """1 - soft Dice, averaged over the regions that are known.

    The overlap is 2 min(p, t): for a hard target the usual 2pt, and for a soft one the form that is best at p = t
    (Wang Z et al., Dice semimetric losses, MICCAI 2023).

    Args:
        over_batch: compute one Dice over all cases of the batch, which avoids a Dice of cases without the region;
            ``False`` for one Dice per case and region.
    """
    probability, targets = logits.float().sigmoid(), targets.float()
    known = _everywhere(known, logits)
    axes = (0, 2, 3, 4) if over_batch else (2, 3, 4)
    overlap = 2 * (known * torch.minimum(probability, targets)).sum(axes)
    sizes = (known * (probability + targets)).sum(axes)
    judged = known.expand_as(logits).amax(axes) > 0
    lost = 1 - (overlap + _SMOOTH) / (sizes + _SMOOTH)
    return (lost * judged).sum() / judged.sum().clamp(min=1)


def bce(logits: Tensor, targets: Tensor, known: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, averaged over the known voxels of all cases and regions."""
    return weighted_bce(logits, targets, torch.ones((), device=logits.device), known)


def weighted_bce(logits: Tensor, targets: Tensor, weights: Tensor, known: Tensor | None = None) -> Tensor:
    """Cross-entropy times ``weights``, averaged over the known voxels; with those of
    :func:`GliomaSegLib.training.pool.lesion_weights` this is iwBCE.

    The average is over voxels and not over weights: a patch with a small lesion counts more than one without.

    Args:
        weights: broadcast to ``[batch, region, z, y, x]``.
    """
    known = _everywhere(known, logits).expand_as(logits)
    entropy = functional.binary_cross_entropy_with_logits(logits.float(), targets.float(), reduction="none")
    return (known * weights * entropy).sum() / known.sum().clamp(min=_SMOOTH)


def autoencoder(reconstruction: Tensor, images: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """The loss of a variational autoencoder branch: squared error of the image plus KL divergence of its code.

    Myronenko A. 3D MRI brain tumor segmentation using autoencoder regularization. arXiv:1810.11654, with the weight
    0.1. Both terms are averages, over voxels and over the code, so that the weight does not depend on the patch size;
    the paper sums the first and divides the second by the number of voxels.

    Args:
        reconstruction, images: the same shape.
        mean, log_variance: of the code, ``[batch, code]``.
    """
    mean, log_variance = mean.float(), log_variance.float()
    divergence = (mean**2 + log_variance.exp() - log_variance - 1).mean()
    return functional.mse_loss(reconstruction.float(), images.float()) + divergence


def deep_supervision(
    loss: Callable[..., Tensor], logits: Sequence[Tensor], targets: Tensor, known: Tensor | None = None
) -> Tensor:
    """The weighted mean of ``loss`` over outputs of several resolutions; weights halve from each to the next coarser
    one.

    Args:
        logits: finest first, as large as ``targets``, which are resampled to the others by nearest neighbour.
    """
    weights = [0.5**level for level in range(len(logits))]
    losses = [
        weight * loss(output, _resized(targets, output), known if known is None else _resized(known, output))
        for weight, output in zip(weights, logits, strict=True)
    ]
    return torch.stack(losses).sum() / sum(weights)


def _everywhere(known: Tensor | None, logits: Tensor) -> Tensor:
    """``known`` as float32 that broadcasts to ``logits``."""
    if known is None:
        return torch.ones((1,) * logits.ndim, device=logits.device)
    return (known[..., None, None, None] if known.ndim == 2 else known).float()


def _resized(voxels: Tensor, output: Tensor) -> Tensor:
    if voxels.ndim == 2 or voxels.shape[2:] == output.shape[2:]:
        return voxels
    return functional.interpolate(voxels.float(), size=output.shape[2:], mode="nearest-exact")
