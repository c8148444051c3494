"""neuronets/ams: from a Keras file in the published layout to labels that are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.networks.nobrainer_unet import NobrainerUNet
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card, read_card
from GliomaSegLib.zoo.loaders import nobrainer
from Testing.support.published import NEXT_ON_FIRST_AXIS, boxes, images_with, moved, silenced

h5py = pytest.importorskip("h5py", reason="Keras files are read with h5py")

SHAPE = (24, 26, 28)
BLOCK, VOLUME = 16, 32
FILE = "meningioma_T1wc_128iso_v1.h5"


@pytest.fixture
def card() -> Card:
    """The card with a volume and blocks that are cheap to run."""
    card = read_card(resource("models") / "ams-meningioma.json")
    network = card.network.model_copy(update={"parameters": {"volume_voxels": VOLUME, "block_voxels": BLOCK}})
    return card.model_copy(update={"network": network})


def laid_network(normalised: bool) -> NobrainerUNet:
    """Meningioma where the image is bright."""
    network = silenced(NobrainerUNet("relu", normalised))
    network.convolutions[0].weight[(0, 0, *NEXT_ON_FIRST_AXIS)] = 1
    for index in (1, 15, 16):
        network.convolutions[index].weight[0, 0, 1, 1, 1] = 1
    network.convolutions[17].weight[0, 0] = 10
    network.convolutions[17].bias[:] = -10
    return network


def write_keras(path: Path, network: NobrainerUNet, extra: tuple[str, ...] = (), last: str = "sigmoid") -> None:
    """A Keras model file: a description in JSON, the layers' tensors below ``model_weights``, the optimiser's."""
    layers: list[dict[str, Any]] = [{"class_name": "InputLayer", "config": {}}]
    layers += [{"class_name": name, "config": {}} for name in extra]
    names: list[str] = ["input_1"]
    with h5py.File(path, "w") as opened:
        weights = opened.create_group("model_weights")
        weights.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        normalisations = iter(network.normalisations)
        for index, layer in enumerate(network.convolutions):
            transposed = isinstance(layer, torch.nn.ConvTranspose3d)
            kernel = layer.weight.detach().numpy().transpose(2, 3, 4, 1, 0)
            add(weights, names, f"conv3d{'_transpose' * transposed}_{index}", kernel=kernel, bias=layer.bias.numpy())
            layers.append({"class_name": "Conv3DTranspose" if transposed else "Conv3D", "config": {}})
            if transposed:
                continue
            if index < 17 and (norm := next(normalisations, None)):
                moving = {"moving_mean": norm.running_mean.numpy(), "moving_variance": norm.running_var.numpy()}
                values = {"gamma": norm.weight.detach().numpy(), "beta": norm.bias.detach().numpy(), **moving}
                add(weights, names, f"batch_normalization_{index}", **values)
                layers.append({"class_name": "BatchNormalization", "config": {}})
            layers.append({"class_name": "Activation", "config": {"activation": last if index == 17 else "relu"}})
        weights.attrs["layer_names"] = [name.encode() for name in names]
        opened.create_group("optimizer_weights").create_dataset("iterations", data=7)
        opened.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": {"layers": layers}})


def add(weights: Any, names: list[str], layer: str, **values: np.ndarray) -> None:
    group = weights.create_group(layer)
    for name, value in values.items():
        group.create_dataset(f"{layer}/{name}:0", data=value)
    group.attrs["weight_names"] = [f"{layer}/{name}:0".encode() for name in values]
    names.append(layer)


@pytest.mark.parametrize("normalised", [False, True])
def test_from_the_published_file_to_labels(card: Card, normalised: bool, tmp_path: Path) -> None:
    write_keras(tmp_path / FILE, laid_network(normalised))
    nobrainer.convert(tmp_path, tmp_path / "weights.safetensors")
    segmenter = nobrainer.load(tmp_path / "weights.safetensors", card.contract, torch.device("cpu"), torch.float32)
    bright = boxes(SHAPE)[Modality.T2F]
    image = images_with({Modality.T1C: bright})
    labels = segmenter.predict(image, Silent(), 0).labels
    expected = moved(bright)
    # 28 voxels lie in the middle of 32: the network's first block ends behind x = 13 and sees nothing beyond.
    expected[:, :, BLOCK - (VOLUME - SHAPE[2]) // 2 - 1] = False
    np.testing.assert_array_equal(labels > 0, expected)


def test_layers_that_could_hold_code_are_refused(tmp_path: Path) -> None:
    write_keras(tmp_path / FILE, laid_network(False), extra=("Lambda",))
    with pytest.raises(WeightsError, match="layer 'Lambda'"):
        nobrainer.convert(tmp_path, tmp_path / "weights.safetensors")


def test_another_network_is_refused(tmp_path: Path) -> None:
    write_keras(tmp_path / FILE, laid_network(False), last="softmax")
    with pytest.raises(WeightsError, match="softmax"):
        nobrainer.convert(tmp_path, tmp_path / "weights.safetensors")
    (tmp_path / FILE).write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="cannot be read"):
        nobrainer.convert(tmp_path, tmp_path / "weights.safetensors")


def test_the_file_has_room_for_this_network_and_its_optimiser(card: Card) -> None:
    # Adam keeps two numbers per weight; the published file is as large as the three, and some bytes of structure.
    numbers = 3 * sum(value.numel() for value in NobrainerUNet().parameters())
    assert 0 < card.weights.files[0].size_bytes - 4 * numbers < 300_000
