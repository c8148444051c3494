"""The box around the brain is computed, and the answer is that to the whole field."""

from __future__ import annotations

import pytest
import torch
from monai.networks.nets import SegResNet
from torch import Tensor, nn

from GliomaSegLib.inference.background import aligned_box, answer_around
from GliomaSegLib.inference.sliding import Windows, slide

CPU = torch.device("cpu")


@pytest.fixture
def images() -> Tensor:
    """[1, 4, 64, 72, 80], 0 but in a box that is not in the middle."""
    generator = torch.Generator().manual_seed(1)
    images = torch.zeros(1, 4, 64, 72, 80)
    images[..., 20:43, 25:47, 18:45] = torch.randn(1, 4, 23, 22, 27, generator=generator) + 1
    return images


@pytest.fixture
def segresnet() -> nn.Module:
    torch.manual_seed(2)
    network = SegResNet(init_filters=8, in_channels=4, out_channels=3, dropout_prob=0.2)
    for parameter in network.parameters():  # also biases and scales, which begin as 0 and 1
        nn.init.normal_(parameter, 0.05, 0.2)
    return network.eval().requires_grad_(False)


def test_the_box_is_that_of_the_images_in_multiples(images: Tensor) -> None:
    assert aligned_box(images, 8) == (slice(16, 48), slice(24, 48), slice(16, 48))
    assert aligned_box(torch.zeros(4, 16, 24, 32), 8) == (slice(0, 16), slice(0, 24), slice(0, 32))


def test_exact_where_nothing_reaches_beyond_the_box(images: Tensor) -> None:
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv3d(4, 8, 3, padding=1), nn.GroupNorm(2, 8), nn.ReLU(),
        nn.Conv3d(8, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Upsample(scale_factor=2), nn.Conv3d(8, 2, 1),
    )  # fmt: skip
    nn.init.normal_(network[1].weight)
    nn.init.normal_(network[1].bias)
    images[..., 20, :, :] = images[..., 42, :, :] = 0  # so that the first convolution's traces stay in the box
    with torch.inference_mode():
        whole, around = network(images), answer_around(network, images, 4)
    inner = (..., slice(4, -4), slice(4, -4), slice(4, -4))  # the rim of the field is padded with zeros
    near = torch.zeros(whole.shape, dtype=torch.bool)
    near[..., 20:44, 24:48, 16:48] = True
    torch.testing.assert_close(around[inner][near[inner]], whole[inner][near[inner]], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(around[..., 8, 8, 8], whole[..., 8, 8, 8], rtol=1e-4, atol=1e-4)


def test_a_deep_network_answers_nearly_as_to_the_whole_field(images: Tensor, segresnet: nn.Module) -> None:
    box = (..., *aligned_box(images, 8))
    with torch.inference_mode():
        whole, around = segresnet(images), answer_around(segresnet, images, 8)
        cut = segresnet(images[box])
    assert (around - whole)[box].std() < 0.35 * (cut - whole[box]).std()


def test_windows_are_computed_around_too(images: Tensor, segresnet: nn.Module) -> None:
    volume = images[0, :, 1:, 3:, 2:]  # is padded to the window
    windows = Windows((64, 72, 80), 0.5, around=8)
    assert windows.computed(volume) == (32 + 8, 32 + 8, 32 + 8)
    whole = Windows((64, 72, 80), 0.5)
    told: list[float] = []
    with torch.inference_mode():
        around, all_of_it = (
            slide([segresnet], volume, way, CPU, torch.float32, told.append) for way in (windows, whole)
        )
    assert around.shape == all_of_it.shape == (3, 63, 69, 78)
    inside = (slice(None), slice(19, 42), slice(22, 44), slice(16, 43))
    correlation = torch.corrcoef(torch.stack([around[inside].flatten(), all_of_it[inside].flatten()]))[0, 1]
    assert correlation > 0.97


def test_another_kind_of_layer_is_refused(images: Tensor) -> None:
    with pytest.raises(TypeError), torch.inference_mode():
        answer_around(nn.Sequential(nn.Conv3d(4, 2, 1), nn.ELU()), images, 8)
