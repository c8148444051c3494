"""Sliding windows: equal to MONAI's own inferer, nnU-Net's placing, covering a volume of any size."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from monai.data.utils import compute_importance_map
from monai.inferers import SlidingWindowInferer
from torch import Tensor, nn

from GliomaSegLib.errors import Cancelled
from GliomaSegLib.inference.volume import mean_logits
from GliomaSegLib.inference.windows import (
    WHOLE_FIELD,
    Importance,
    Placing,
    Size,
    Windows,
    balanced,
    constant,
    even,
    gaussian,
    mirrors,
    regular,
    slide,
    tent,
)

CPU = torch.device("cpu")


@pytest.fixture
def network() -> nn.Module:
    """Two channels in, three out; what it answers for a voxel depends on its neighbours and on the window's edges."""
    torch.manual_seed(1)
    layers = nn.Sequential(
        nn.Conv3d(2, 4, 3, padding=1), nn.InstanceNorm3d(4), nn.ReLU(), nn.Conv3d(4, 3, 3, padding=1)
    )
    return layers.eval().requires_grad_(False)


def noise(*shape: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def answered(networks: list[nn.Module], volume: Tensor, windows: Windows, batch: int = 1) -> Tensor:
    views = ((), *windows.mirrors)
    answer = partial(mean_logits, networks, views=views, device=CPU, precision=torch.float32, batch=batch)
    with torch.inference_mode():
        return slide(answer, volume, windows, lambda done: None)


@pytest.mark.parametrize(
    ("shape", "overlap", "mode", "importance", "padding"),
    [
        ((20, 30, 25), 0.5, "constant", constant, "constant"),
        ((20, 30, 25), 0.625, "gaussian", gaussian, "constant"),
        ((9, 40, 16), 0.5, "gaussian", gaussian, "replicate"),
        ((33, 17, 8), 0.25, "gaussian", gaussian, "constant"),
    ],
)
def test_equals_monais_own_inferer(
    network: nn.Module, shape: tuple[int, ...], overlap: float, mode: str, importance: Importance, padding: str
) -> None:
    volume = noise(2, *shape)
    theirs = SlidingWindowInferer((16, 16, 16), overlap=overlap, mode=mode, padding_mode=padding)(volume[None], network)
    windows = Windows((16, 16, 16), overlap, importance=importance, padding=padding)
    torch.testing.assert_close(answered([network], volume, windows), theirs[0], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("window", [(16, 17, 20), (96, 96, 96), (128, 160, 112), (7, 5, 9), (1, 3, 2)])
def test_gaussian_weights_are_monais_bit_by_bit(window: Size) -> None:
    assert torch.equal(gaussian(window), compute_importance_map(window, mode="gaussian", sigma_scale=0.125))


@pytest.mark.parametrize("placing", [regular, even])
@pytest.mark.parametrize(("size", "window"), [(155, 64), (64, 64), (65, 64), (10, 64), (200, 48)])
def test_windows_cover_an_axis_and_end_with_it(placing: Placing, size: int, window: int) -> None:
    starts = placing(size, window, 0.5)
    covered = np.zeros(max(size, window), bool)
    for start in starts:
        covered[start : start + window] = True
    assert covered.all()
    assert starts[0] == 0
    assert starts[-1] == max(size - window, 0)
    assert all(0 < later - earlier <= window // 2 for earlier, later in itertools.pairwise(starts))


def test_even_placing_is_nnunets() -> None:
    # nnU-Net's documentation: an image of 110 with windows of 64 and steps of half a window is seen at 0, 23 and 46.
    assert even(110, 64, 0.5) == [0, 23, 46]
    assert regular(110, 64, 0.5) == [0, 32, 46]


def test_a_trimmed_window_fits_the_volume() -> None:
    fitted = Windows((128, 64, WHOLE_FIELD[2]), 0.5, trims_to=8).fitted((50, 100, 33))
    assert fitted.size == (56, 64, 40)
    assert Windows((128, 64, 32), 0.5).fitted((50, 100, 33)).size == (128, 64, 32)


@pytest.mark.parametrize(
    "shape", [(30, 30, 30), (60, 90, 80), (80, 140, 120), (150, 180, 140), (41, 129, 129), (5, 9, 300)]
)
def test_balanced_windows_cover_a_volume_in_fewer_voxels_than_fixed_ones(shape: Size) -> None:
    usual = (40, 128, 128)
    fixed = Windows(usual, 0.25, placing=even, trims_to=8).fitted(shape)
    windows = Windows(balanced(shape, usual, 0.25, 8), 0.25, placing=even)

    def voxels(windows: Windows) -> int:
        padded = windows.padded(torch.zeros(1, *shape))[0]
        places = windows.places(padded.shape[1:])
        seen = torch.zeros(padded.shape[1:], dtype=torch.bool)
        for place in places:
            seen[place] = True
        assert seen.all()
        return len(places) * int(np.prod(windows.size))

    assert voxels(windows) <= voxels(fixed)
    assert np.prod(windows.size) <= np.prod(usual)
    for side, own, most in zip(windows.size, shape, usual, strict=True):
        assert side % 8 == 0
        assert side >= min(own, most / 2)


def test_balanced_windows_may_be_as_thin_as_a_step() -> None:
    assert 8 in balanced((60, 60, 60), (8, 16, 64), 0.25, 8)  # and is found at all: no window is shorter


@pytest.mark.parametrize("shape", [(10, 14, 9), (7, 30, 12)])
def test_a_network_that_answers_for_the_middle_of_what_it_is_shown(shape: tuple[int, int, int]) -> None:
    """DeepMedic's way: convolutions without padding. Together the windows answer as one pass over all would."""
    torch.manual_seed(0)
    valid = nn.Sequential(nn.Conv3d(2, 4, 3), nn.ReLU(), nn.Conv3d(4, 3, (3, 1, 3))).requires_grad_(False)
    volume = noise(2, *shape)
    windows = Windows((9, 9, 9), 0, margin=(2, 1, 2))
    assert windows.shown == (13, 11, 13)
    whole = valid(nn.functional.pad(volume, (2, 2, 1, 1, 2, 2))[None])[0]
    torch.testing.assert_close(answered([valid], volume, windows), whole, atol=1e-5, rtol=1e-4)


def test_a_window_of_one_size_is_not_made_smaller() -> None:
    assert Windows((128, 128, 128), 0.5).smaller().size == (64, 128, 128)
    assert Windows((128, 128, 128), 0.5, one_size=True).smaller() is None


def test_folds_and_mirrors_are_averaged(network: nn.Module) -> None:
    volume = noise(2, 16, 16, 16)
    other = nn.Conv3d(2, 3, 1).requires_grad_(False)
    found = answered([network, other], volume, Windows((16, 16, 16), 0.5, mirrors=mirrors(0, 2)))
    views = [(), (2,), (4,), (2, 4)]
    expected = sum(one(volume[None].flip(view)).flip(view) for one in (network, other) for view in views) / 8
    torch.testing.assert_close(found, expected[0])
    assert mirrors(0, 1, 2) == ((0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2))


def test_batched_views_change_nothing(network: nn.Module) -> None:
    volume, windows = noise(2, 16, 16, 16), Windows((16, 16, 16), 0.5, mirrors=mirrors(0, 1, 2))
    torch.testing.assert_close(answered([network], volume, windows, batch=3), answered([network], volume, windows))


def test_progress_is_reported_and_may_cancel() -> None:
    reported: list[float] = []

    def on_progress(done: float) -> None:
        reported.append(done)
        if done > 0.5:
            raise Cancelled("stopped")

    with pytest.raises(Cancelled), torch.inference_mode():
        slide(lambda window: window, noise(2, 32, 16, 16), Windows((16, 16, 16), 0.5), on_progress)
    assert reported == pytest.approx([1 / 3, 2 / 3])


def test_a_small_volume_is_padded_on_both_sides_or_at_the_far_ends() -> None:
    volume = torch.ones(1, 3, 4, 9)
    padded, inside = Windows((6, 4, 8), 0.5).padded(volume)
    assert padded.shape == (1, 6, 4, 9)
    assert inside == (slice(1, 4), slice(0, 4), slice(0, 9))
    padded, inside = Windows((6, 4, 8), 0.5, pads_both_sides=False).padded(volume)
    assert inside == (slice(0, 3), slice(0, 4), slice(0, 9))
    assert padded[:, 3:].sum() == 0


def test_tent_weights_are_largest_in_the_middle_and_nowhere_zero() -> None:
    weights = tent((4, 5, 6))
    assert weights.min() == weights[0, 0, 0] == pytest.approx(1 / (4 * 5 * 6))
    assert weights.max() == weights[1, 2, 2] == weights[2, 2, 3]
    torch.testing.assert_close(weights, weights.flip((0, 1, 2)))
