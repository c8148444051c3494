"""The three networks of one patch, against CA-CNN's own inference, and the weights that they start from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from GliomaSegLib.cli.train import initial_weights
from GliomaSegLib.errors import InputError
from GliomaSegLib.networks.anisotropic_trio import AnisotropicTrio
from GliomaSegLib.resources import resource

_SHIPPED = "gliomaseg-any-v2"


def _trio() -> AnisotropicTrio:
    torch.manual_seed(3)
    return AnisotropicTrio().eval()


def test_each_network_answers_as_ca_cnn_does_with_the_channels_in_its_order() -> None:
    trio = _trio()
    t1n, t1c, t2w, t2f = images = torch.randn(4, 11, 16, 24)
    published = torch.stack([t2f, t1n, t1c, t2w])
    window = torch.cat([published[:, :1].repeat(1, 4, 1, 1), published, published[:, -1:].repeat(1, 4, 1, 1)], dim=1)
    with torch.inference_mode():
        answer = trio(images[None])[0].sigmoid()
        expected = [network(window.transpose(0, 1), [0]) for network in (trio.wt, trio.tc, trio.et)]
    assert answer.shape == (3, 11, 16, 24)
    assert torch.allclose(answer, torch.stack(expected), atol=1e-4)


def test_training_and_inference_give_one_answer() -> None:
    trio, images = _trio(), torch.randn(2, 4, 9, 16, 24)
    trained = torch.cat([trio(images[:1]), trio(images[1:])])  # a batch would share its statistics
    with torch.inference_mode():
        assert torch.allclose(trio(images), trained.detach(), atol=1e-3)


@pytest.mark.parametrize("slices", [1, 20, 33])
def test_any_number_of_slices(slices: int) -> None:
    with torch.inference_mode():
        assert _trio()(torch.randn(1, 4, slices, 8, 12)).shape == (1, 3, slices, 8, 12)


def test_parameter_count() -> None:
    assert sum(one.numel() for one in AnisotropicTrio().parameters()) == 633_336


def test_training_starts_from_the_axial_networks_of_ca_cnn(tmp_path: Path, shared: Path) -> None:
    from GliomaSegLib.zoo.catalogue import find_card
    from GliomaSegLib.zoo.store import Store

    source = shared / "weights/ca-cnn-brats17"
    store = Store(tmp_path)
    store.install(find_card("ca-cnn-brats17"), source=source)
    initial = initial_weights("ca-cnn-brats17:axial", tmp_path)
    trio = _trio()
    trio.load_state_dict(initial)
    installed = load_file(store.weights(find_card("ca-cnn-brats17")))
    assert torch.equal(trio.tc.block1_1.conv_0.weight, installed["tc.axial.block1_1.conv_0.weight"])


def test_a_stage_of_the_shipped_model() -> None:
    shipped = load_file(resource(f"weights/{_SHIPPED}.safetensors"))
    coarse = initial_weights(f"{_SHIPPED}:coarse", None)
    assert {f"coarse.{name}" for name in coarse} == {name for name in shipped if name.startswith("coarse.")}
    with pytest.raises(InputError, match="no stage 'sagittal'"):
        initial_weights(f"{_SHIPPED}:sagittal", None)
