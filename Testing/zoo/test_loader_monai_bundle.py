"""MONAI's bundle ``brats_mri_segmentation``: from its published file to labels that are known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNet

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import monai_bundle
from GliomaSegLib.zoo.store import Store
from Testing.support.published import NEXT_ON_FIRST_AXIS, boxes, images_with, installed, moved, predicted, silenced

SHAPE = (24, 26, 28)
FILE = "model_brats_mri_segmentation.pt"


@pytest.fixture
def card() -> Card:
    """The card with a window that is cheap to run; the published one is of the size of a whole head."""
    card = read_card(resource("models") / "monai-brats18-segresnet.json")
    inference = replace(card.inference, patch=(32, 32, 24))
    return replace(card, inference=inference)


def laid_network() -> SegResNet:
    """TC where the first channel is bright, WT where the fourth is, ET where the third is: the bundle's channels are
    T1c, T1, T2, FLAIR and its regions TC, WT, ET."""
    network = silenced(
        SegResNet(blocks_down=[1, 2, 2, 4], blocks_up=[1, 1, 1], init_filters=16, in_channels=4, out_channels=3)
    )
    for channel in range(4):  # a pair of opposite filters is a group, so that its mean is 0
        network.convInit.conv.weight[(2 * channel, channel, *NEXT_ON_FIRST_AXIS)] = 1
        network.convInit.conv.weight[(2 * channel + 1, channel, *NEXT_ON_FIRST_AXIS)] = -1
    final = network.conv_final[2].conv
    for region, channel in enumerate((0, 3, 2)):
        final.weight[region, 2 * channel] = 10
    final.bias[:] = -5
    return network


def test_from_the_published_file_to_labels(card: Card, tmp_path: Path) -> None:
    published, store = tmp_path / "published", Store(tmp_path / "models")
    published.mkdir()
    torch.save(laid_network().state_dict(), published / FILE)
    local = installed(card, published, store)
    bright = boxes(SHAPE)
    prediction = predicted(local, store, images_with(bright))
    whole, core, enhancing = (moved(bright[sequence]) for sequence in (Modality.T2F, Modality.T1C, Modality.T2W))
    np.testing.assert_array_equal(prediction.labels, compose(whole, core, enhancing))
    np.testing.assert_array_equal(prediction.probabilities[Region.WT] >= 0.5, whole)

    swapped = images_with({**bright, Modality.T2F: bright[Modality.T1N], Modality.T1N: bright[Modality.T2F]})
    other = predicted(local, store, swapped)
    np.testing.assert_array_equal(other.probabilities[Region.WT] >= 0.5, moved(bright[Modality.T1N]))


def test_the_cards_network_is_the_bundles(card: Card) -> None:
    network = SegResNet(**card.network.parameters["arguments"])
    assert sum(value.numel() for value in network.parameters()) == 4_702_227  # the bundle's
    assert card.inputs.mandatory == card.inputs.sequences


def test_a_state_dict_below_model_is_read_too(tmp_path: Path) -> None:
    state = laid_network().state_dict()
    torch.save({"model": state}, tmp_path / FILE)
    monai_bundle.convert(tmp_path, tmp_path / "weights.safetensors")
    assert (tmp_path / "weights.safetensors").stat().st_size > 4 * 4_702_227


def test_another_network_is_refused(card: Card, tmp_path: Path) -> None:
    torch.save(SegResNet(in_channels=4, out_channels=3, init_filters=8).state_dict(), tmp_path / FILE)
    monai_bundle.convert(tmp_path, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match=r"'convInit\.conv\.weight' is \(8, 4, 3, 3, 3\) and should be \(16, "):
        monai_bundle.load(tmp_path / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32)
