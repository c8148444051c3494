"""Losses against values computed by hand, MONAI's Dice, and the rule that what is not known counts for nothing."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from monai.losses import DiceLoss
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.training.losses import autoencoder, bce, deep_supervision, dice, weighted_bce
from GliomaSegLib.training.pool import lesion_weights

Loss = Callable[..., Tensor]
LOSSES = [dice, partial(dice, over_batch=False), bce]


def _batch(seed: int = 0, cases: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn((cases, 3, 4, 5, 6), generator=generator)
    return logits, (torch.rand(logits.shape, generator=generator) < 0.3).float()


def _logits(probability: Tensor) -> Tensor:
    return torch.logit(probability.double()).float()


def test_dice_by_hand() -> None:
    """Two cases of four voxels: p = .8 .4 .2 .5 on reference 1 1 0 0, and p = .3 .1 .1 .1 on none."""
    probability = torch.tensor([[0.8, 0.4, 0.2, 0.5], [0.3, 0.1, 0.1, 0.1]]).reshape(2, 1, 1, 1, 4)
    reference = torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]]).reshape(2, 1, 1, 1, 4)
    together = 1 - 2 * (0.8 + 0.4) / (1.9 + 0.6 + 2)
    assert dice(_logits(probability), reference).item() == pytest.approx(together, abs=1e-4)
    apart = (1 - 2 * 1.2 / (1.9 + 2) + 1) / 2
    assert dice(_logits(probability), reference, over_batch=False).item() == pytest.approx(apart, abs=1e-4)


@pytest.mark.parametrize("over_batch", [True, False])
def test_dice_of_hard_targets_is_monais(over_batch: bool) -> None:
    logits, targets = _batch()
    expected = DiceLoss(sigmoid=True, batch=over_batch)(logits, targets)
    torch.testing.assert_close(dice(logits, targets, over_batch=over_batch), expected)


def test_dice_of_soft_targets_is_monais_and_best_where_they_are_met() -> None:
    logits, _ = _batch()
    targets = torch.rand(logits.shape, generator=torch.Generator().manual_seed(1))
    expected = DiceLoss(sigmoid=True, batch=True, soft_label=True)(logits, targets)
    torch.testing.assert_close(dice(logits, targets), expected)
    assert dice(_logits(targets), targets).item() == pytest.approx(0, abs=1e-5)
    assert dice(_logits(targets.round().clamp(1e-6, 1 - 1e-6)), targets).item() > 0.1


def test_a_case_without_the_region_is_judged_beside_the_others() -> None:
    """Per case, silence on the empty case gains a whole Dice; over the batch it gains next to nothing."""
    reference = torch.zeros(2, 1, 4, 4, 4)
    reference[0, :, :2] = 1
    timid, silent = torch.full_like(reference, 0.05), torch.full_like(reference, 1e-7)
    timid[reference > 0] = silent[reference > 0] = 0.6
    silent[0] = timid[0]

    def gained(over_batch: bool) -> float:
        return (
            dice(_logits(timid), reference, None, over_batch) - dice(_logits(silent), reference, None, over_batch)
        ).item()

    assert gained(over_batch=False) > 0.3
    assert gained(over_batch=True) < 0.1


def test_bce_is_torchs() -> None:
    logits, targets = _batch()
    torch.testing.assert_close(bce(logits, targets), functional.binary_cross_entropy_with_logits(logits, targets))


@pytest.mark.parametrize("loss", LOSSES)
def test_an_unknown_region_of_a_case_counts_for_nothing(loss: Loss) -> None:
    logits, targets = _batch()
    known = torch.tensor([[1, 1, 1], [1, 0, 0], [0, 1, 0]])
    logits.requires_grad_()
    answer = loss(logits, targets, known)
    (gradient,) = torch.autograd.grad(answer, logits)
    assert gradient[known == 0].abs().max() == 0
    assert (gradient[known == 1].flatten(1).abs().amax(1) > 0).all()
    other = torch.where(known[..., None, None, None] == 0, 9.0, logits)
    torch.testing.assert_close(loss(other, targets, known), answer)
    # The same mask, voxel by voxel.
    torch.testing.assert_close(loss(logits, targets, known[..., None, None, None].expand_as(logits)), answer)


def test_a_region_that_no_case_knows_does_not_dilute_the_others() -> None:
    logits, targets = _batch()
    for loss in LOSSES:
        whole_tumour_only = loss(logits, targets, torch.tensor([[1, 0, 0]] * 3))
        torch.testing.assert_close(whole_tumour_only, loss(logits[:, :1], targets[:, :1]))


@pytest.mark.parametrize("loss", LOSSES)
def test_known_voxels_are_judged_as_if_the_others_were_not_there(loss: Loss) -> None:
    logits, targets = _batch()
    known = torch.zeros(3, 1, 4, 5, 6)
    known[:, :, :, 1:4] = 1
    torch.testing.assert_close(loss(logits, targets, known), loss(logits[:, :, :, 1:4], targets[:, :, :, 1:4]))


@pytest.mark.parametrize("loss", LOSSES)
def test_nothing_known_is_no_loss_and_no_gradient(loss: Loss) -> None:
    logits, targets = _batch()
    logits.requires_grad_()
    answer = loss(logits, targets, torch.zeros(3, 3))
    answer.backward()
    assert answer.item() == 0
    assert logits.grad.abs().max() == 0


@pytest.mark.parametrize("loss", LOSSES)
def test_half_precision_and_extreme_logits_give_finite_float32(loss: Loss) -> None:
    logits, targets = _batch()
    extreme = (logits * 1000).bfloat16().requires_grad_()
    answer = loss(extreme, targets)
    answer.backward()
    assert answer.dtype == torch.float32
    assert torch.isfinite(answer)
    assert torch.isfinite(extreme.grad).all()


def test_lesion_weights_by_hand() -> None:
    """100 voxels with lesions of 1 and 4; beta = 0.05: 0.05 * 100 / 1 = 5 and 0.05 * 100 / 4 = 1.25."""
    reference = np.zeros((4, 5, 5), bool)
    reference[0, 0, 0] = True
    reference[2:4, 3:5, 4] = True
    weights = lesion_weights(reference, positive_fraction=0.05)
    assert weights.dtype == np.float32
    assert weights[0, 0, 0] == pytest.approx(5)
    np.testing.assert_allclose(weights[2:4, 3:5, 4], 1.25)
    assert (weights[~reference] == 1).all()
    # Each lesion as a whole weighs beta * N, whatever its size.
    assert weights[0, 0, 0] == pytest.approx(weights[2:4, 3:5, 4].sum())


def test_lesions_that_share_an_edge_are_one_and_at_a_corner_two() -> None:
    reference = np.zeros((4, 4, 4), bool)
    reference[0, 0, 0] = reference[0, 1, 1] = True
    assert lesion_weights(reference, 0.1)[0, 0, 0] == pytest.approx(0.1 * 64 / 2)
    reference[0, 1, 1], reference[1, 1, 1] = False, True
    assert lesion_weights(reference, 0.1)[0, 0, 0] == pytest.approx(0.1 * 64)


def test_a_case_without_lesions_has_plain_weights_and_beta_is_a_fraction() -> None:
    assert (lesion_weights(np.zeros((3, 3, 3), bool), 0.1) == 1).all()
    for beta in (0.0, 1.0, np.nan):
        with pytest.raises(ValueError, match="fraction of positive voxels"):
            lesion_weights(np.ones((3, 3, 3), bool), beta)


def test_weighted_bce_by_hand_and_against_plain_bce() -> None:
    probability = torch.tensor([0.8, 0.4, 0.2, 0.5]).reshape(1, 1, 1, 1, 4)
    reference = torch.tensor([1.0, 1, 0, 0]).reshape(1, 1, 1, 1, 4)
    weights = torch.tensor([5.0, 1.25, 1, 1]).reshape(1, 1, 1, 1, 4)
    by_hand = -(5 * np.log(0.8) + 1.25 * np.log(0.4) + np.log(0.8) + np.log(0.5)) / 4
    assert weighted_bce(_logits(probability), reference, weights).item() == pytest.approx(by_hand, rel=1e-5)
    logits, targets = _batch()
    torch.testing.assert_close(weighted_bce(logits, targets, torch.ones_like(logits)), bce(logits, targets))
    torch.testing.assert_close(weighted_bce(logits, targets, torch.tensor(3.0)), 3 * bce(logits, targets))


def test_missing_a_small_lesion_costs_as_much_as_missing_a_large_one() -> None:
    reference = np.zeros((12, 12, 12), bool)
    small, large = (slice(1, 2),) * 3, (slice(4, 10),) * 3
    reference[small] = reference[large] = True
    targets = torch.from_numpy(reference)[None, None].float()
    weights = torch.from_numpy(lesion_weights(reference, reference.mean().item()))[None, None]

    def cost(missed: tuple[slice, ...], weights: Tensor) -> float:
        logits = torch.where(targets > 0, 8.0, -8.0)
        logits[(0, 0, *missed)] = -8
        return weighted_bce(logits, targets, weights).item()

    assert cost(small, weights) == pytest.approx(cost(large, weights), rel=0.05)
    assert cost(large, torch.tensor(1.0)) > 100 * cost(small, torch.tensor(1.0))


def test_autoencoder_by_hand() -> None:
    image = torch.zeros(2, 1, 1, 2, 2)
    mean, log_variance = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[0.0, 0], [np.log(2), 0]])
    divergence = (1 + 0 + (2 - np.log(2) - 1) + 4) / 4
    answer = autoencoder(image + 0.5, image, mean, log_variance)
    assert answer.item() == pytest.approx(0.25 + divergence, rel=1e-6)
    assert autoencoder(image, image, torch.zeros(2, 3), torch.zeros(2, 3)).item() == 0


def test_deep_supervision_is_the_weighted_mean_over_resolutions() -> None:
    logits, targets = torch.randn(2, 3, 8, 8, 8), torch.zeros(2, 3, 8, 8, 8)
    targets[:, :, 2:6, 2:6, 2:6] = 1
    coarse = torch.randn(2, 3, 4, 4, 4)
    coarse_targets = torch.zeros(2, 3, 4, 4, 4)
    coarse_targets[:, :, 1:3, 1:3, 1:3] = 1
    fine_loss, coarse_loss = bce(logits, targets), bce(coarse, coarse_targets)
    torch.testing.assert_close(deep_supervision(bce, [logits, coarse], targets), (fine_loss + 0.5 * coarse_loss) / 1.5)
    known = torch.tensor([[1, 0, 0], [1, 1, 0]])
    expected = (dice(logits, targets, known) + dice(coarse, coarse_targets, known) / 2) / 1.5
    torch.testing.assert_close(deep_supervision(dice, [logits, coarse], targets, known), expected)
