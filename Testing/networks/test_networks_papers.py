"""The papers' networks: sizes and parameter counts at full size without memory, behaviour on small real tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from GliomaSegLib.networks import agu_net, ar_ca, nnunet, shirokikh
from GliomaSegLib.networks.agu_net import AguNet, AttentionGate
from GliomaSegLib.networks.ar_ca import AutoencoderRegularised, Regularised, window_logits
from GliomaSegLib.networks.ca_cnn import AnisotropicNet
from GliomaSegLib.networks.deepmedic import DeepMedic
from GliomaSegLib.networks.nnunet import NnUNet
from GliomaSegLib.networks.shirokikh import UNet3D, VNet
from GliomaSegLib.training.losses import autoencoder, bce, deep_supervision

Shape = tuple[int, int, int]


@dataclass(frozen=True)
class Paper:
    """A network as its paper trains it, and the smallest patch that a test can afford."""

    make: Callable[[], nn.Module]
    channels: int
    regions: int
    patch: Shape
    answers: tuple[Shape, ...]
    parameters: int
    small: Shape


def _halved(shape: Shape, *strides: Shape) -> tuple[Shape, ...]:
    sizes = [shape]
    for stride in strides:
        sizes.append(tuple(edge // step for edge, step in zip(sizes[-1], stride, strict=True)))
    return tuple(sizes)


TWICE = (2, 2, 2)
PAPERS = {
    "deepmedic": Paper(DeepMedic, 4, 3, (57, 57, 57), ((9, 9, 9),), 662_853, (51, 51, 57)),
    "nnunet": Paper(NnUNet, 4, 3, nnunet.PATCH, _halved((80, 192, 128), (1, 2, 2), TWICE), 16_517_929, (16, 32, 32)),
    "agu-net": Paper(
        lambda: AguNet(3, 1),
        3,
        1,
        agu_net.PATCH,
        _halved((144, 128, 128), TWICE, TWICE, TWICE),
        17_108_664,
        (32, 32, 16),
    ),
    "unet": Paper(UNet3D, 1, 1, shirokikh.PATCH, ((64, 64, 64),), 19_072_769, (16, 16, 24)),
    "vnet": Paper(VNet, 1, 1, shirokikh.PATCH, ((64, 64, 64),), 65_183_909, (16, 16, 32)),
    "wnet": Paper(AutoencoderRegularised, 4, 1, ar_ca.WNET_PATCH, ((11, 144, 144),), 22_230_202, (19, 16, 16)),
    "tnet": Paper(
        lambda: AutoencoderRegularised(4, (96, 96)), 4, 1, ar_ca.TNET_PATCH, ((11, 96, 96),), 10_033_402, (19, 16, 16)
    ),
    "enet": Paper(
        lambda: AutoencoderRegularised(4, (64, 64), downsample_twice=False),
        4,
        1,
        ar_ca.ENET_PATCH,
        ((11, 64, 64),),
        17_593_824,
        (19, 16, 16),
    ),
}
every_paper = pytest.mark.parametrize("paper", PAPERS.values(), ids=PAPERS.keys())


def _small(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name in ("wnet", "tnet"):
        return AutoencoderRegularised(4, (16, 16))
    if name == "enet":
        return AutoencoderRegularised(4, (16, 16), downsample_twice=False)
    return PAPERS[name].make()


def _answers(output: Tensor | tuple[Tensor, ...] | Regularised) -> tuple[Tensor, ...]:
    if isinstance(output, Regularised):
        return (output.logits,)
    return output if isinstance(output, tuple) else (output,)


def _kernels(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters() if parameter.ndim == 5)


# All networks


@every_paper
def test_full_size_without_memory(paper: Paper) -> None:
    with torch.device("meta"):
        network = paper.make()
        patch = torch.empty(2, paper.channels, *paper.patch)
        trained = _answers(network(patch))
        answer = network.eval()(patch)
    assert sum(parameter.numel() for parameter in network.parameters()) == paper.parameters
    assert [tuple(output.shape) for output in trained] == [(2, paper.regions, *size) for size in paper.answers]
    assert answer.shape == trained[0].shape
    expected = tuple(edge - 2 * margin for edge, margin in zip(paper.patch, network.margin, strict=True))
    assert tuple(answer.shape[2:]) == expected


@pytest.mark.parametrize("name", PAPERS)
def test_a_step_of_training_reaches_every_parameter(name: str) -> None:
    """On real numbers: the loss of the paper is finite, and no layer was left out of the network."""
    network, paper = _small(name), PAPERS[name]
    output = network(torch.randn(2, paper.channels, *paper.small))
    answers = _answers(output)
    targets = (torch.rand_like(answers[0]) < 0.3).float()
    loss = deep_supervision(bce, answers, targets)
    if isinstance(output, Regularised):
        loss = loss + 0.1 * autoencoder(output.reconstruction, output.original, output.mean, output.log_variance)
    loss.backward()
    assert torch.isfinite(loss)
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None, parameter_name
        assert torch.isfinite(parameter.grad).all(), parameter_name


# Where bfloat16 is emulated, the larger networks take a minute each.
_LARGE = ("nnunet", "agu-net", "unet", "vnet")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow) if name in _LARGE else name for name in PAPERS]
)
def test_mixed_precision_on_the_processor(name: str) -> None:
    network, paper = _small(name).eval(), PAPERS[name]
    patch = torch.randn(2, paper.channels, *paper.small)
    with torch.inference_mode():
        exact = network(patch)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(patch)
    assert rough.dtype == torch.bfloat16
    assert (rough.float() - exact).abs().mean() < 0.1 * exact.std() + 0.01


# DeepMedic


def test_deepmedic_has_the_layers_of_its_table() -> None:
    before, after = (4, 30, 30, 40, 40, 40, 40, 50), (30, 30, 40, 40, 40, 40, 50, 50)
    pathway = sum(27 * a * b + 3 * b for a, b in zip(before, after, strict=True))  # norm: two, PReLU: one per channel
    common = 100 * 150 + 150 * 150 + 2 * 3 * 150 + 150 * 3 + 3
    assert sum(parameter.numel() for parameter in DeepMedic(4, 3).parameters()) == 2 * pathway + common


@pytest.mark.parametrize("pathway", ["fine", "coarse"])
def test_deepmedics_pathways_look_at_the_same_place(pathway: str) -> None:
    """The central voxel depends on 17 voxels around it through the fine pathway and on 51 through the coarse one."""
    network = DeepMedic(1, 1).eval()
    silent = network.coarse if pathway == "fine" else network.fine
    patch = torch.randn(1, 1, 57, 57, 57, requires_grad=True)
    with torch.no_grad():
        for parameter in silent[0].parameters():
            parameter.zero_()
    network(patch)[0, 0, 4, 4, 4].backward()
    reach = 8 if pathway == "fine" else 25
    for axis in range(3):
        seen = patch.grad[0, 0].abs().amax([other for other in range(3) if other != axis]).nonzero().flatten()
        assert (seen.min().item(), seen.max().item()) == (28 - reach, 28 + reach)


def test_deepmedic_answers_for_each_voxel_the_same_in_any_patch() -> None:
    network = DeepMedic(2, 1).eval()
    volume = torch.randn(1, 2, 63, 57, 57)
    with torch.inference_mode():
        whole, part = network(volume), network(volume[:, :, 6:])
    torch.testing.assert_close(part, whole[:, :, 6:])


@pytest.mark.parametrize("edge", [45, 48, 54, 55, 58])
def test_deepmedic_refuses_patches_whose_pathways_do_not_meet(edge: int) -> None:
    with pytest.raises(ValueError, match="odd multiples of 3"):
        DeepMedic(1, 1)(torch.empty(1, 1, 57, 57, edge))


# nnU-Net


def test_nnunet_has_the_layers_of_its_table() -> None:
    network = NnUNet(4, 3)
    filters, kernels, strides = (32, 64, 128, 256, 320), (9, 27, 27, 27, 27), (4, 8, 8, 8)
    encoder = sum(
        kernel * (before * width + width * width)
        for before, width, kernel in zip((4, *filters), filters, kernels, strict=False)
    )
    decoder = sum(
        volume * below * width + 27 * (2 * width * width + width * width)
        for width, below, volume in zip(filters, filters[1:], strides, strict=False)
    )
    assert _kernels(network) == encoder + decoder + 3 * (32 + 64 + 128)
    names = {type(module).__name__ for module in network.modules()}
    assert {"InstanceNorm3d", "LeakyReLU"} <= names
    assert not {"BatchNorm3d", "ReLU", "PReLU"} & names


def test_nnunets_coarse_answers_are_their_own_and_not_blown_up() -> None:
    network = _small("nnunet")
    answers = network(torch.randn(1, 4, 16, 32, 32))
    assert [tuple(answer.shape[2:]) for answer in answers] == [(16, 32, 32), (16, 16, 16), (8, 8, 8)]
    assert torch.equal(network.eval()(torch.ones(1, 4, 16, 32, 32)), network(torch.ones(1, 4, 16, 32, 32)))


# AGU-Net


def test_a_closed_gate_passes_nothing_and_an_open_one_everything() -> None:
    gate = AttentionGate(6, 4).eval()
    features, coarse = torch.randn(1, 6, 8, 8, 8), torch.randn(1, 4, 4, 4, 4)
    with torch.no_grad():
        gate.attention.bias.fill_(-1e4)
        torch.testing.assert_close(gate(features, coarse), gate.passed(torch.zeros_like(features)))
        gate.attention.bias.fill_(1e4)
        torch.testing.assert_close(gate(features, coarse), gate.passed(features))


def test_a_gate_opens_where_the_coarse_level_says() -> None:
    gate = AttentionGate(2, 1).eval()
    with torch.no_grad():
        for parameter in (gate.features.weight, gate.gating.bias, gate.attention.bias):
            parameter.zero_()
        gate.gating.weight.fill_(1)
        gate.attention.weight.fill_(20)
        gate.attention.bias.fill_(-10)
    coarse = torch.zeros(1, 1, 4, 4, 4)
    coarse[..., 3] = 1
    features = torch.ones(1, 2, 8, 8, 8)
    with torch.no_grad():
        passed = gate(features, coarse) - gate.passed(torch.zeros_like(features))
        everything = gate.passed(features) - gate.passed(torch.zeros_like(features))
    torch.testing.assert_close(passed[..., 7], everything[..., 7], atol=1e-3, rtol=0)
    torch.testing.assert_close(passed[..., 0], torch.zeros_like(passed[..., 0]), atol=1e-3, rtol=0)


def test_agu_net_sees_the_image_at_every_scale() -> None:
    """With the full resolution shut, the image still arrives at a half, a quarter and an eighth."""
    network = AguNet(1, 1).eval()
    with torch.no_grad():
        for parameter in network.down[0].parameters():
            parameter.zero_()
    for only in range(3):
        others = [layer for index, layer in enumerate(network.scaled) if index != only]
        hooks = [layer.register_forward_hook(lambda *given: torch.zeros_like(given[-1])) for layer in others]
        volume = torch.randn(1, 1, 16, 16, 16, requires_grad=True)
        network(volume).sum().backward()
        for hook in hooks:
            hook.remove()
        assert volume.grad.abs().max() > 0
    assert [layer[0].out_channels for layer in network.scaled] == [32, 128, 256]


# Shirokikh's networks


def test_the_3d_unet_has_the_number_of_parameters_that_its_paper_prints() -> None:
    """Çiçek 2016 counts kernels and the bias of each 3x3x3 and 1x1x1 convolution, for three channels in and out."""
    network = UNet3D(3, 3)
    normalisation = [module for module in network.modules() if isinstance(module, nn.BatchNorm3d)]
    counted = [sum(p.numel() for p in part.parameters()) for part in (network, *normalisation)]
    assert counted[0] - sum(counted[1:]) == 19_069_955


def test_the_v_net_has_the_convolutions_of_its_paper() -> None:
    down = sum(8 * a * 2 * a + n * 125 * (2 * a) ** 2 for a, n in ((16, 2), (32, 3), (64, 3), (128, 3)))
    up = sum(8 * a * b // 2 + n * 125 * b**2 for a, b, n in ((256, 256, 3), (256, 128, 3), (128, 64, 2), (64, 32, 1)))
    assert _kernels(VNet(1, 1)) == 125 * 16 + down + up + 125 * 32 + 1
    assert not any(isinstance(module, nn.Dropout3d) and module.p > 0 for module in VNet(1, 1).modules())


# AR-CA


@pytest.mark.parametrize("downsample_twice", [True, False])
def test_training_and_inference_give_one_answer(downsample_twice: bool) -> None:
    """The windows that AR-CA trains on and the shared slices that CA-CNN infers on, with the same weights."""
    torch.manual_seed(0)
    network = AnisotropicNet(4, downsample_twice)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.uniform_(parameter, 0.2, 1.2)
    starts, stack = [0, 11, 15], torch.randn(34, 4, 16, 24)
    windows = torch.stack([stack[start : start + 19].transpose(0, 1) for start in starts])
    with torch.inference_mode():
        inferred = network(stack, starts)
        trained = window_logits(network, windows)[0].sigmoid()
    for start, window in zip(starts, trained, strict=True):
        torch.testing.assert_close(window[0], inferred[start : start + 11], atol=1e-5, rtol=0)


def test_a_trained_network_is_a_ca_cnn_without_its_branch() -> None:
    network = _small("wnet")
    left = AnisotropicNet(4, downsample_twice=True)
    left.load_state_dict(network.segmentation.state_dict())
    windows = torch.randn(2, 4, 19, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(network.eval()(windows), window_logits(left, windows)[0])
    assert all(name.startswith(("segmentation.", "branch.")) for name in network.state_dict())


def test_the_branch_gives_back_the_central_slices_and_teaches_the_encoder() -> None:
    network = _small("tnet")
    windows = torch.randn(2, 4, 19, 16, 16)
    output = network(windows)
    assert torch.equal(output.original, windows[:, :, 4:15])
    autoencoder(output.reconstruction, output.original, output.mean, output.log_variance).backward()
    assert network.segmentation.block1_1.conv_0.weight.grad.abs().max() > 0
    assert network.segmentation.fuse4.conv.weight.grad.abs().max() > 0
    assert network.segmentation.final_pred.weight.grad is None
    assert not torch.equal(network(windows).reconstruction, output.reconstruction)  # a new sample of the code


def test_the_branch_learns_to_give_an_image_back() -> None:
    """Two patterns of features, two images: the error falls well below that of the best image for both."""
    torch.manual_seed(0)
    branch = AutoencoderRegularised(4, (8, 8)).branch
    # As behind an encoder; torch 2.13 crashes in GroupNorm's backward of channels-last input that needs no gradient.
    features = torch.randn(2, 32, 11, 2, 2, requires_grad=True)
    columns = torch.linspace(-2, 2, 8)
    image = torch.sin(columns[:, None] * 2 + columns)
    images = torch.stack((image, image.flip(0))).reshape(2, 1, 1, 8, 8).expand(2, 4, 11, 8, 8)
    optimiser = torch.optim.Adam(branch.parameters(), 2e-3)
    for _ in range(60):
        reconstruction, _, _ = branch(features)
        optimiser.zero_grad()
        (reconstruction - images).square().mean().backward()
        optimiser.step()
    of_the_best_common_image = (images - images.mean(0)).square().mean()
    assert (reconstruction - images).square().mean() < 0.3 * of_the_best_common_image


def test_a_plane_that_the_branch_cannot_halve_is_refused() -> None:
    with pytest.raises(ValueError, match="20 x 16, not multiples of 8"):
        AutoencoderRegularised(4, (20, 16))
    AutoencoderRegularised(4, (20, 16), downsample_twice=False)
