"""SynthStrip: from the published file to the brain, whichever the sequence and along every axis."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.networks.synthstrip_unet import SynthStripUNet
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import synthstrip
from GliomaSegLib.zoo.store import Store
from Testing.support.published import installed, predicted, silenced

SHAPE = (30, 34, 40)
HEAD = (slice(2, 28), slice(3, 31), slice(4, 36))
BRAIN = (slice(6, 24), slice(8, 26), slice(9, 31))


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Card:
    monkeypatch.setattr(synthstrip, "_LEAST", 64)  # the real one makes a test slow
    return read_card(resource("models") / "synthstrip.json")


def laid_network(neighbour: tuple[int, int, int]) -> SynthStripUNet:
    """Inside the brain (distance -4) where a voxel's neighbour is bright, else 2.7 mm and more outside."""
    network = silenced(SynthStripUNet())
    below = network.decoder[-1][1].conv.out_channels
    network.encoder[0][0].conv.weight[(0, 0, *neighbour)] = 1
    network.encoder[0][1].conv.weight[0, 0, 1, 1, 1] = 1
    network.remaining[0].conv.weight[0, below, 1, 1, 1] = 1
    network.remaining[1].conv.weight[0, 0, 1, 1, 1] = 1
    network.remaining[2].conv.weight[0, 0, 1, 1, 1] = -10
    network.remaining[2].conv.bias[:] = 6
    return network


def published(folder: Path, network: torch.nn.Module) -> Path:
    folder.mkdir()
    torch.save({"epoch": 1, "model_state_dict": network.state_dict()}, folder / "synthstrip.1.pt")
    return folder


def head() -> np.ndarray:
    """A head of 100 with a brain of 300 that has a hole, and a bright speck beside it that is no brain."""
    image = np.zeros(SHAPE, np.float32)
    image[HEAD] = 100
    image[BRAIN] = 300
    image[14:16, 15:18, 18:21] = 100
    image[26, 5, 6] = 300
    return image


@pytest.mark.parametrize(
    ("sequence", "neighbour", "axis", "shift"),
    [
        (Modality.T1C, (2, 1, 1), 2, -1),  # the network's first axis runs to the left, as x does
        (Modality.T2F, (1, 2, 1), 0, 1),  # the second to inferior, against z
        (Modality.T2W, (1, 1, 2), 1, 1),  # the third to anterior, against y
    ],
)
def test_from_the_published_file_to_the_brain(
    card: Card, tmp_path: Path, sequence: Modality, neighbour: tuple[int, int, int], axis: int, shift: int
) -> None:
    store = Store(tmp_path / "models")
    local = installed(card, published(tmp_path / "published", laid_network(neighbour)), store)
    brain = np.zeros(SHAPE, np.uint8)
    brain[BRAIN] = 1
    prediction = predicted(local, store, {sequence: head()})
    np.testing.assert_array_equal(prediction.labels, np.roll(brain, shift, axis))
    assert not prediction.probabilities


def test_another_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="should be"):
        synthstrip.convert(published(tmp_path / "published", SynthStripUNet(full_size=(8, 8))), tmp_path / "weights")


def test_an_empty_image_is_refused(card: Card, tmp_path: Path) -> None:
    synthstrip.convert(published(tmp_path / "published", SynthStripUNet()), tmp_path / "weights")
    segmenter = synthstrip.load(tmp_path / "weights", card.loader_parameters, torch.device("cpu"), torch.float32)
    with pytest.raises(InputError, match="empty"):
        segmenter.predict({Modality.T1C: np.zeros(SHAPE, np.float32)}, Silent(), 0)


def test_the_network_is_shown_whole_blocks_of_its_size() -> None:
    for own, side in ((100, 192), (193, 256), (256, 256), (400, 320)):
        image = np.arange(own, dtype=np.float32)[:, None, None] + np.zeros((own, 192, 192), np.float32)
        box, inside, taken = synthstrip._fitted(image)
        assert box.shape == (side, 192, 192)
        np.testing.assert_array_equal(box[inside], image[taken])
