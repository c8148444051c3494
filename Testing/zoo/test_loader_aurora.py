"""AURORA's seven networks: from the published archive to labels that are known, each for its own set of sequences."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import BasicUNet

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.labels import Label
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import aurora
from GliomaSegLib.zoo.store import Store
from Testing.support.published import (
    NEXT_ON_FIRST_AXIS,
    boxes,
    images_with,
    installed,
    moved,
    predicted,
    silenced,
    zipped,
)

SHAPE = (24, 26, 28)
FEATURES = [4, 4, 4, 4, 8, 4]


@pytest.fixture
def card() -> Card:
    """The card with smaller networks and a window that holds the whole image."""
    card = read_card(resource("models") / "aurora-metastasis.json")
    arguments = {**card.network.parameters["arguments"], "features": FEATURES}
    network = replace(card.network, parameters={"arguments": arguments})
    inference = replace(card.inference, patch=(32, 32, 32))
    return replace(card, network=network, inference=inference)


def laid_network(channels: int) -> BasicUNet:
    """Whole metastasis where the last channel is bright, enhancing where the first is."""
    network = silenced(
        BasicUNet(spatial_dims=3, in_channels=channels, out_channels=2, features=FEATURES, dropout=0.1, act="mish")
    )
    start, end = network.conv_0, network.upcat_1.convs
    for filter_, channel in enumerate((0, channels - 1)):
        start.conv_0.conv.weight[(filter_, channel, *NEXT_ON_FIRST_AXIS)] = 1
        for layer in (start.conv_1, end.conv_0, end.conv_1):
            layer.conv.weight[filter_, filter_, 1, 1, 1] = 1
    network.final_conv.weight[0, 1] = network.final_conv.weight[1, 0] = 10
    network.final_conv.bias[:] = -10
    return network


@pytest.fixture
def published(tmp_path: Path) -> Path:
    inside = tmp_path / "published" / "inside"
    inside.mkdir(parents=True)
    for name, order in aurora.SETS.items():
        state = {f"module.{key}": value for key, value in laid_network(len(order)).state_dict().items()}
        for selection in ("best", "last", "vanilla"):
            content = {"epoch": 1, "model_state": state if selection == "best" else {}}
            torch.save(content, inside / f"{name}_{selection}.tar")
    return zipped(inside, "aurora.zip").parent


def test_from_the_published_archive_to_labels_for_every_set(card: Card, published: Path, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    local = installed(card, published, store)
    bright = boxes(SHAPE)
    images = images_with(bright, edge=0)
    assert set(card.inputs.sets) == set(aurora.SETS.values())
    for order in card.inputs.sets:
        labels = predicted(local, store, {sequence: images[sequence] for sequence in order}).labels
        whole, enhancing = moved(bright[order[-1]]), moved(bright[order[0]])
        expected = np.where(enhancing, Label.ET, np.where(whole, Label.SNFH, 0))
        np.testing.assert_array_equal(labels, expected, err_msg=str(order))

    only_t2 = {Modality.T2W: images[Modality.T2W]}
    with pytest.raises(InputError, match="no network for T2 alone"):
        predicted(local, store, only_t2)
    with pytest.raises(InputError):
        card.regions_given([Modality.T2W])


def test_a_missing_set_is_refused(published: Path, tmp_path: Path) -> None:
    torch.save({"model_state": laid_network(1).state_dict()}, published / "t1-o_best.tar")
    with pytest.raises(WeightsError, match=r"0 files t1-t1c-t2-fla_best\.tar"):
        aurora.convert(published, tmp_path / "weights.safetensors")
