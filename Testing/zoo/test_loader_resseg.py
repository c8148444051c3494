"""resseg's cavity network: from the published file to a cavity that is known, and the real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.labels import Label
from GliomaSegLib.networks.resseg_unet import RessegUNet
from GliomaSegLib.preprocessing.normalisation import standardise_histogram, z_score_above_mean
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import resseg
from GliomaSegLib.zoo.store import Store
from Testing.support.published import NEXT_ON_FIRST_AXIS, installed, moved, predicted, silenced

FILE = "self_semi_37-b571f7ba.pth"


@pytest.fixture
def card() -> Card:
    return read_card(resource("models") / "resseg-cavity.json")


def laid_network() -> RessegUNet:
    """A cavity where the image is bright."""
    network = silenced(RessegUNet())
    network.encoder_1.first.conv.weight[(0, 0, *NEXT_ON_FIRST_AXIS)] = 1
    for layer in (network.encoder_1.second, network.decoder_2.first, network.decoder_2.second):
        layer.conv.weight[0, 0, 1, 1, 1] = 1
    network.classifier.weight[1, 0] = 10
    network.classifier.bias[1] = -10
    return network


def published_state(network: RessegUNet) -> dict[str, torch.Tensor]:
    """Its tensors under the names of the package ``unet``, which has each of them twice."""
    back = {
        **{own: theirs for theirs, own in resseg._BLOCKS.items()},
        **{own: theirs for theirs, own in resseg._LAYERS.items()},
        **{own: theirs for theirs, own in resseg._PARTS.items()},
    }
    state = {}
    for name, value in network.state_dict().items():
        if name.startswith("classifier"):
            tensor = name.removeprefix("classifier.")
            state |= {f"classifier.conv_layer.{tensor}": value, f"classifier.block.0.{tensor}": value}
        else:
            block, layer, part, tensor = name.split(".")
            state[f"{back[block]}.{back[layer]}.{back[part]}.{tensor}"] = value
            state[f"{back[block]}.{back[layer]}.block.0.{part}.{tensor}".replace(f"{part}.", "")] = value
    return state


def head(shape: tuple[int, int, int]) -> np.ndarray:
    noise = np.random.default_rng(0).normal(0, 3, shape).astype(np.float32)
    image = np.abs(noise)
    image[4:-4, 4:-4, 4:-4] += 100
    return image


def test_from_the_published_file_to_a_cavity(card: Card, tmp_path: Path) -> None:
    published, store = tmp_path / "published", Store(tmp_path / "models")
    published.mkdir()
    torch.save(published_state(laid_network()), published / FILE)
    local = installed(card, published, store)
    image, cavity = head((41, 42, 45)), np.zeros((41, 42, 45), bool)
    cavity[10:20, 11:20, 12:20] = True
    image[cavity] = 300
    image[25:28, 25:28, 25:28] = 300  # a smaller piece, which is dropped
    prediction = predicted(local, store, {Modality.T1C: image})
    np.testing.assert_array_equal(prediction.labels, moved(cavity) * np.uint8(Label.RC))
    np.testing.assert_array_equal(predicted(local, store, {Modality.T1N: image}).labels, prediction.labels)
    plain = image[::-1].copy()
    both, alone = (
        predicted(local, store, {Modality.T1N: plain, **more}).labels for more in ({Modality.T1C: image}, {})
    )
    np.testing.assert_array_equal(both, alone, "with both at hand the T1 without contrast is taken")
    assert (both != prediction.labels).any()


def test_an_image_that_is_too_thin_is_refused(card: Card, tmp_path: Path) -> None:
    torch.save(published_state(laid_network()), tmp_path / FILE)
    resseg.convert(tmp_path, tmp_path / "weights.safetensors")
    segmenter = resseg.load(
        tmp_path / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32
    )
    image = np.arange(7 * 16 * 16, dtype=np.float32).reshape(7, 16, 16)
    with pytest.raises(InputError, match="only 7 voxels"):
        segmenter.predict({Modality.T1C: image}, None, 0)


def test_the_histogram_is_moved_to_the_landmarks(card: Card) -> None:
    landmarks = card.normalisation.landmarks
    image = np.random.default_rng(0).gamma(3, 50, (20, 20, 20))
    moved_image = standardise_histogram(image, landmarks)
    np.testing.assert_allclose(
        np.percentile(moved_image, (1, 50, 99)), [landmarks[i] for i in (0, 6, 12)], rtol=0.02, atol=1e-3
    )
    order = np.argsort(image, axis=None)
    assert (np.diff(moved_image.ravel()[order]) >= 0).all(), "brighter stays brighter"
    above = moved_image > moved_image.mean()
    scaled = z_score_above_mean(moved_image)
    assert scaled[above].mean() == pytest.approx(0, abs=1e-4)
    assert scaled[above].std(ddof=1) == pytest.approx(1, abs=1e-4)


def test_the_real_weights_are_those_of_the_card_and_load(card: Card, shared: Path, tmp_path: Path) -> None:
    real = shared / "weights" / "resseg"
    if not (real / FILE).is_file():
        pytest.skip(f"no {FILE} in {real}")
    assert sha256_of(real / FILE) == card.weights.files[0].sha256
    resseg.convert(real, tmp_path / "weights.safetensors")
    resseg.load(tmp_path / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32)


def test_another_network_is_refused(tmp_path: Path) -> None:
    state = published_state(laid_network())
    state["encoder.encoding_blocks.2.conv1.conv_layer.weight"] = torch.zeros(1)
    torch.save(state, tmp_path / FILE)
    with pytest.raises(WeightsError, match=r"encoding_blocks\.2"):
        resseg.convert(tmp_path, tmp_path / "weights.safetensors")
