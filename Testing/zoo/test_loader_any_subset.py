"""RFNet and mmFormer in the zoo: from their published files to labels, for every subset of the sequences."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.volume import stacked
from GliomaSegLib.io.provenance import sha256_of
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.networks.masked_encoders import SEQUENCES
from GliomaSegLib.networks.mmformer import MmFormer
from GliomaSegLib.networks.rfnet import RFNet
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card, Parity, Status
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.catalogue import tumour_models
from GliomaSegLib.zoo.loaders import any_subset, family
from GliomaSegLib.zoo.loaders.any_subset import (
    SubsetSegmenter,
    prepared,
    published_crop,
    without_specks_of_enhancement,
)
from GliomaSegLib.zoo.recommend import best_installed, recommend
from GliomaSegLib.zoo.store import Store
from Testing.support.published import boxes, images_with, installed, predicted

T1N, T1C, T2W, T2F = Modality
IDS = ("rfnet-brats20", "mmformer-brats18")
SHAPE = (20, 24, 28)
SUBSETS = [kept for count in range(1, 5) for kept in itertools.combinations(Modality, count)]
LABELS = np.array([0, Label.NETC, Label.SNFH, Label.ET], np.uint8)  # of the four classes
NAMES = ("flair", "t1ce", "t1", "t2")


def tiny(model: str) -> tuple[Card, nn.Module]:
    """The card with a small network and window, and that network with made weights."""
    card = read_card(resource("models") / f"{model}.json")
    small: dict[str, Any] = {"arguments": {"width": 2, "places": 2, "token": 16, "hidden": 32, "heads": 2}}
    if model.startswith("rfnet"):
        small = {"width": 4}
    network = dataclasses.replace(card.network, parameters=card.network.parameters | small)
    inference = dataclasses.replace(card.inference, patch=(32, 32, 32))
    torch.manual_seed(0)
    made = RFNet(4) if "width" in small else MmFormer(**small["arguments"])
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.3)
    nn.init.normal_(made.answer.weight, std=3)
    return dataclasses.replace(card, network=network, inference=inference), made.eval().requires_grad_(False)


@pytest.fixture
def little(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fields of 32 voxels a side instead of the published 129, which would take minutes."""
    monkeypatch.setattr(any_subset, "_LEAST_SIDE", 31)
    monkeypatch.setattr(any_subset, "_LEAST_GRID", 32)


def conv(name: str) -> Iterator[str]:
    yield from (f"{name}.conv.weight", f"{name}.conv.bias")


def plain(name: str) -> Iterator[str]:
    yield from (f"{name}.weight", f"{name}.bias")


def published_names(model: str) -> list[str]:
    """The names of the authors' parameters, those of training alone left out."""
    levels = range(1, 5 if model.startswith("rfnet") else 6)
    found: list[str] = []
    for name, level, layer in itertools.product(NAMES, levels, (1, 2, 3)):
        stem = level == layer == 1 and not model.startswith("rfnet")
        found += (plain if stem else conv)(f"{name}_encoder.e{level}_c{layer}")
    for level, layer in itertools.product(levels[:-1], ("c1", "c2", "out")):
        found += conv(f"decoder_fuse.d{level}_{layer}")
    found += plain("decoder_fuse.seg_layer")
    if model.startswith("rfnet"):
        for level, number in itertools.product(levels, range(3)):
            found += conv(f"decoder_fuse.prm_generator{level}.embedding_layer.{number}")
            found += conv(f"decoder_fuse.RFM{level}.region_fusion.fusion_layer.{number}")
            found += conv(f"decoder_fuse.RFM{level}.short_cut.{number}")
        for level in levels:
            found += conv(f"decoder_fuse.prm_generator{level}.prm_layer.0")
            found += plain(f"decoder_fuse.prm_generator{level}.prm_layer.1")
            for number, layer in itertools.product(range(4), (0, 2)):
                found += plain(f"decoder_fuse.RFM{level}.modal_fusion.{number}.weight_layer.{layer}")
        return found
    for level, number in itertools.product(levels, range(3)):
        found += conv(f"decoder_fuse.RFM{level}.fusion_layer.{number}")
    for name in NAMES:
        found += [*plain(f"{name}_encode_conv"), f"{name}_pos"]
    found += plain("multimodal_decode_conv")
    for name in (*NAMES, "multimodal"):
        attention, perceptron = (f"{name}_transformer.cross_{part}_list.0.fn" for part in ("attention", "ffn"))
        found += [*plain(f"{attention}.norm"), f"{attention}.fn.qkv.weight", *plain(f"{attention}.fn.proj")]
        found += [*plain(f"{perceptron}.norm"), *plain(f"{perceptron}.fn.net.0"), *plain(f"{perceptron}.fn.net.3")]
    return found


def published(model: str, network: nn.Module, folder: Path) -> Path:
    """A checkpoint as the authors' training writes it, with this network's weights."""
    own = network.state_dict()
    loader: Any = family(model.partition("-")[0])
    state = {f"module.{name}": own[loader.own_name(name)] for name in published_names(model)}
    for name in state:  # published as convolutions of one voxel
        if "weight_layer" in name and name.endswith("weight"):
            state[name] = state[name][:, :, None, None, None]
    state["module.decoder_sep.d1_c1.conv.weight"] = torch.zeros(1)
    path = folder / f"{'rfnet-brats2020' if model.startswith('rfnet') else 'mmformer-brats2018'}.pth"
    torch.save({"epoch": 299, "state_dict": state, "optim_dict": {"state": {}, "param_groups": [{"lr": 2e-4}]}}, path)
    return path


@pytest.mark.parametrize(
    "subsets", [SUBSETS[2::4], pytest.param(SUBSETS, marks=pytest.mark.slow)], ids=["four", "every subset"]
)
@pytest.mark.parametrize("model", IDS)
@pytest.mark.usefixtures("little")
def test_from_the_published_file_to_labels(model: str, subsets: list[tuple[Modality, ...]], tmp_path: Path) -> None:
    card, network = tiny(model)
    folder, store = tmp_path / "published", Store(tmp_path / "models")
    folder.mkdir()
    published(model, network, folder)
    local = installed(card, folder, store)
    images = images_with(boxes(SHAPE))
    for subset in subsets:
        shown = {one: images[one] for one in subset}
        found = predicted(local, store, shown)
        grid = tuple(slice((32 - own) // 2, (32 - own) // 2 + own) for own in SHAPE)
        whole = np.zeros((4, 32, 32, 32), np.float32)
        whole[(slice(None), *grid)] = stacked(shown, SEQUENCES)
        channels, box = prepared(whole)
        turned = torch.from_numpy(channels.transpose(0, 3, 2, 1).copy())[None]
        assert turned.shape[2:] == (32, 32, 32), "one window"
        logits = network(turned, torch.tensor([[one in subset for one in SEQUENCES]]))
        classes = np.zeros((32, 32, 32), np.uint8)
        classes[box] = logits[0].argmax(0).numpy().transpose(2, 1, 0)
        expected = without_specks_of_enhancement(LABELS[classes], 500)[grid]
        # A voxel whose classes are equally likely may change, as the layers add up in another order.
        assert (found.labels != expected).mean() < 3e-4, str(subset)
        assert set(found.probabilities) == {Region.WT, Region.TC, Region.ET}
        assert found.probabilities[Region.WT].shape == SHAPE


def test_the_hash_is_kept_at_the_first_installation_and_shown(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = "rfnet-brats20"
    path = published(model, tiny(model)[1], tmp_path)
    store = tmp_path / "models"
    assert main(["models", "install", model, "--from", str(path), "--store", str(store)]) == 0
    capfd.readouterr()
    assert main(["models", "show", model, "--store", str(store)]) == 0
    assert sha256_of(path) in capfd.readouterr().out


@pytest.mark.parametrize(("model", "other"), [IDS, IDS[::-1]])
def test_the_weights_of_one_in_the_card_of_the_other_are_refused(model: str, other: str, tmp_path: Path) -> None:
    file = published(other, tiny(other)[1], tmp_path)
    card = read_card(resource("models") / f"{model}.json")
    title = {"rfnet-brats20": "RFNet", "mmformer-brats18": "mmFormer"}[model]
    with pytest.raises(WeightsError, match=f"is not {title}'s: it holds"):
        Store(tmp_path / "models").install(card, file)
    assert not Store(tmp_path / "models").is_installed(card)


@pytest.mark.parametrize("model", IDS)
def test_a_file_that_lacks_a_layer_and_one_of_another_size_are_refused(model: str, tmp_path: Path) -> None:
    card, network = tiny(model)
    file = published(model, network, tmp_path)
    checkpoint = torch.load(file, weights_only=True)
    del checkpoint["state_dict"]["module.decoder_fuse.seg_layer.bias"]
    torch.save(checkpoint, tmp_path / "cut.pth")
    with pytest.raises(WeightsError, match=r"lacks 'answer\.bias'"):
        Store(tmp_path / "models").install(card, tmp_path / "cut.pth")

    store, as_published = Store(tmp_path / "others"), read_card(resource("models") / f"{model}.json")
    store.install(as_published, file)
    loader: Any = family(card.network.family)
    with pytest.raises(WeightsError, match="does not hold the weights of"):
        loader.load(store.weights(as_published), as_published.loader_parameters, torch.device("cpu"), torch.float32)


def test_a_pickle_with_code_is_not_opened(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return print, ("run",)

    torch.save({"state_dict": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(WeightsError, match="could run as a program"):
        Store(tmp_path / "models").install(read_card(resource("models") / "rfnet-brats20.json"), tmp_path / "evil.pth")


# --- around the network --------------------------------------------------------------------------------------------


class Bright(nn.Module):
    """Class 2 where FLAIR is bright, 3 where T1c is too, seen one voxel further along the first axis."""

    def forward(self, images: Tensor, present: Tensor) -> Tensor:
        assert not present[0, 2], "the case has no T1"
        flair, enhanced = (images[:, place].roll(-1, dims=1) > 1 for place in (0, 1))
        logits = torch.zeros((len(images), 4, *images.shape[2:]))
        logits[:, 0] = 1
        logits[:, 2][flair] = 5
        logits[:, 3][enhanced] = 9
        return logits


def bright_segmenter(least: int) -> SubsetSegmenter:
    contract = read_card(resource("models") / "rfnet-brats20.json").loader_parameters | {
        "least_enhancing_voxels": least
    }
    return SubsetSegmenter(Bright(), contract, torch.device("cpu"), torch.float32)


def test_labels_come_back_to_the_voxels_that_they_were_seen_at() -> None:
    """The network's first axis is x; the grid is padded, cropped, cut into windows and put together again."""
    shape = (40, 150, 60)
    flair, enhanced = np.zeros((2, *shape), bool)
    flair[10:30, 100:140, 20:40] = True
    enhanced[12:20, 110:130, 24:36] = True
    shown = {T2F: np.where(flair, 300, 100).astype(np.float32), T1C: np.where(enhanced, 300, 100).astype(np.float32)}
    found = bright_segmenter(500).predict(shown, Silent(), 0)
    expected = np.where(flair, np.uint8(Label.SNFH), np.uint8(0))
    expected[enhanced] = Label.ET
    np.testing.assert_array_equal(found.labels, np.roll(expected, -1, axis=2))


def test_little_enhancing_tumour_in_all_is_core() -> None:
    labels = np.zeros((9, 9, 9), np.uint8)
    labels[2:6, 2:6, 2:6] = Label.ET
    assert (without_specks_of_enhancement(labels, 64) == labels).all()
    less = without_specks_of_enhancement(labels, 65)
    np.testing.assert_array_equal(less, np.where(labels > 0, Label.NETC, 0))


def test_the_field_is_the_published_one() -> None:
    """The box of what is measured without its last plane, 128 or 129 voxels a side where it is smaller."""
    measured = np.zeros((240, 240, 155), bool)
    measured[20:201, 100:140, 1:50] = True
    assert published_crop(measured) == (slice(20, 200), slice(56, 184), slice(0, 129))
    measured[:] = False
    measured[:, :, 150:] = True
    assert published_crop(measured)[2] == slice(155 - 129, 155), "as many voxels at the far end, where theirs are fewer"
    with pytest.raises(InputError, match="empty"):
        published_crop(np.zeros((9, 9, 9), bool))


def test_voxels_outside_the_brain_are_normalised_too_and_a_missing_sequence_stays_0() -> None:
    stack = np.zeros((4, 130, 130, 130), np.float32)
    brain = (slice(30, 90), slice(30, 90), slice(30, 90))
    stack[(0, *brain)] = np.random.default_rng(0).normal(500, 50, (60, 60, 60))
    stack[(1, *brain)] = np.random.default_rng(1).normal(90, 9, (60, 60, 60))
    channels, box = prepared(stack)
    inside = stack[0][box] > 0
    assert abs(channels[0][inside].mean()) < 1e-3
    assert abs(channels[0][inside].std() - 1) < 1e-3
    np.testing.assert_allclose(channels[0][~inside], -10, atol=0.1)
    assert not channels[2:].any()
    stack[1][stack[1] > 0] = 7
    with pytest.raises(InputError, match=r"T1 \+ contrast image \(--t1c\) has no contrast"):
        prepared(stack)


# --- the choice ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subset", SUBSETS, ids=lambda subset: "+".join(one.value for one in subset))
def test_the_ranking_knows_that_they_take_any_subset(subset: tuple[Modality, ...], tmp_path: Path) -> None:
    ranking = {one.card.id: one for one in recommend(tumour_models(), Store(tmp_path), subset, "preoperative-glioma")}
    for model in IDS:
        assert not ranking[model].unsuited
        assert ranking[model].regions == (Region.WT, Region.TC, Region.ET)


def proved(card: Card) -> Card:
    """The card as after a comparison without mismatches, which the shipped one may still wait for."""
    parity = Parity(package="p", version="1", date="2026-11-29", voxels=9, mismatches=0, command="c")
    return dataclasses.replace(card, status=Status.PARITY, parity=parity)


def test_weights_without_a_licence_are_never_taken_by_themselves(tmp_path: Path) -> None:
    for model in IDS:
        (tmp_path / model).mkdir()
        (tmp_path / model / "installed.json").write_text("{}")
    proven = [proved(one) for one in tumour_models() if one.id in IDS]
    ranking = recommend(proven, Store(tmp_path), (T2F, T1C), "preoperative-glioma")
    assert best_installed(ranking, (T2F, T1C), "preoperative-glioma").card.id == "mmformer-brats18"
    alone = [one for one in ranking if one.card.id == "rfnet-brats20"]
    assert "its publisher states no licence" in alone[0].why
    with pytest.raises(InputError, match="states no licence, so it runs only when it is named"):
        best_installed(alone, (T2F,), "preoperative-glioma")
