"""Layers for channels-last volumes: the same answers as torch's own."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from GliomaSegLib.networks.any_unet import AnyUNet
from GliomaSegLib.networks.memory_format import ChannelsLastInstanceNorm, OneDnnConvolution, channels_last


def volume(*shape: int, offset: float = 0.0) -> torch.Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(3)) + offset
    return values.contiguous(memory_format=torch.channels_last_3d)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("batch", [1, 2])
def test_an_instance_norm_is_torchs_and_keeps_the_order(affine: bool, batch: int) -> None:
    norm = nn.InstanceNorm3d(8, affine=affine)
    if affine:
        nn.init.uniform_(norm.weight)
        nn.init.uniform_(norm.bias)
    seen = volume(batch, 8, 6, 7, 9, offset=5.0)
    expected = norm(seen.double() if not affine else seen)
    channels_last(network := nn.Sequential(norm))
    assert type(network[0]) is ChannelsLastInstanceNorm
    with torch.inference_mode():
        found = network(seen)
    assert found.is_contiguous(memory_format=torch.channels_last_3d)
    torch.testing.assert_close(found, expected.to(found.dtype), atol=1e-5, rtol=1e-5)


def test_the_moments_of_a_large_volume_with_an_offset_are_exact() -> None:
    seen = volume(1, 8, 96, 96, 96, offset=3.0)
    exact = nn.InstanceNorm3d(8)(seen.double())
    norm = channels_last(nn.Sequential(nn.InstanceNorm3d(8)))
    with torch.inference_mode():
        assert (norm(seen) - exact).abs().max() < 2e-5
        assert (torch.batch_norm(seen, None, None, None, None, True, 0.1, 1e-5, True) - exact).abs().max() > 1e-4


@pytest.mark.parametrize("settings", [{"padding": 1}, {"padding": "same"}, {"padding": 1, "padding_mode": "replicate"},
                                      {"stride": 2, "groups": 2}, {"dilation": 2, "bias": False}])  # fmt: skip
def test_a_convolution_of_a_small_input_is_torchs(settings: dict[str, object]) -> None:
    convolution = nn.Conv3d(16, 16, 3, **settings)  # type: ignore[arg-type]
    seen = volume(1, 16, 6, 8, 10)
    expected = convolution(seen)
    channels_last(network := nn.Sequential(convolution))
    assert type(network[0]) is OneDnnConvolution
    with torch.inference_mode():
        torch.testing.assert_close(network(seen), expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_network_answers_as_before_and_still_learns(precision: torch.dtype) -> None:
    torch.manual_seed(0)
    network = AnyUNet(widths=(8, 16, 32))
    same = channels_last(copy.deepcopy(network))
    seen = volume(1, 4, 16, 16, 24)
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        with torch.inference_mode():
            expected = network(seen)
            found = same(seen)
        tolerance = 1e-4 if precision == torch.float32 else 0.1
        torch.testing.assert_close(found, expected, atol=tolerance, rtol=tolerance)
        same(seen).float().square().mean().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in same.parameters())
