"""nnU-Net v2's networks: from the published folder, with its own plans, to labels that are known."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.windows import even
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Label
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.card_network import Output
from GliomaSegLib.zoo.loaders import nnunet
from GliomaSegLib.zoo.loaders.nnunet_plans import read_published
from GliomaSegLib.zoo.store import Store
from Testing.support.nnunet_folder import ARCHITECTURE, BRAIN, LABELS, REGIONS, dataset, plans, write_folder
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

unet = pytest.importorskip("dynamic_network_architectures.architectures.unet", reason="needs the extra 'nnunet'")

SHAPE = (24, 26, 28)
X_FIRST = (2, 1, 0)
WHOLE = [32, 32, 32]
THREE_SEQUENCES = (Modality.T2F, Modality.T1C, Modality.T2W)


def card_of(model: str) -> Card:
    return read_card(resource("models") / f"{model}.json")


def laid_network(inputs: int, lit: Mapping[int, int], answers: int) -> torch.nn.Module:
    """A network whose channel ``lit[i]`` is sure where its input ``i`` is bright."""
    layers = {"conv_op": torch.nn.Conv3d, "norm_op": torch.nn.InstanceNorm3d, "nonlin": torch.nn.LeakyReLU}
    arguments = {**ARCHITECTURE["arch_kwargs"], **layers}
    network = silenced(unet.PlainConvUNet(inputs, num_classes=answers, deep_supervision=True, **arguments))
    first, second = network.encoder.stages[0][0].convs
    skipped = first.conv.out_channels  # the decoder sees what comes from below first
    third, fourth = network.decoder.stages[-1].convs
    head = network.decoder.seg_layers[-1]
    for channel, answer in lit.items():
        first.conv.weight[(channel, channel, *NEXT_ON_FIRST_AXIS)] = 1
        second.conv.weight[channel, channel, 1, 1, 1] = 1
        third.conv.weight[channel, skipped + channel, 1, 1, 1] = 1
        fourth.conv.weight[channel, channel, 1, 1, 1] = 1
        head.weight[answer, channel] = 10
        head.bias[answer] = -10
    return network


def published(
    tmp_path: Path, archive: str, network: torch.nn.Module, planned: dict[str, Any], described: dict[str, Any]
) -> Path:
    """A server's folder with the archive, laid as TumorSegmentator's is."""
    inside = tmp_path / "published" / "inside"
    folder = inside / "Dataset501_Test" / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    write_folder(folder, {"all": network}, planned, described)
    return zipped(inside, archive).parent


def test_four_sequences_with_regions_in_the_order_of_the_dataset(tmp_path: Path) -> None:
    """WT shows in FLAIR, TC in T1c, ET in T2; the dataset names them in an order that is not the card's."""
    card = card_of("tumorsegmentator-four")
    described = dataset(["FLAIR", "T1w", "T1ce", "T2"], REGIONS)
    planned = plans(4, X_FIRST, patch_size=[16, 24, 16])
    network = laid_network(4, {0: 0, 2: 1, 3: 2}, 3)
    store = Store(tmp_path / "models")
    local = installed(card, published(tmp_path, card.weights.files[0].name, network, planned, described), store)
    bright = boxes(SHAPE)
    labels = predicted(local, store, images_with(bright)).labels
    np.testing.assert_array_equal(labels, compose(*(moved(bright[one]) for one in THREE_SEQUENCES)))

    swapped = {**bright, Modality.T2F: bright[Modality.T1N], Modality.T1N: bright[Modality.T2F]}
    other = predicted(local, store, images_with(swapped)).labels
    assert (other[moved(bright[Modality.T1N])] > 0).all()


@pytest.mark.parametrize("old", [False, True])
def test_two_sequences_with_labels_in_the_order_of_the_card(tmp_path: Path, old: bool) -> None:
    """The dataset's names say nothing; 1 is edema, which shows in T1, and 3 enhancing tumour, which shows in T1c."""
    card = card_of("tumorsegmentator-t1-t1c")
    described, planned = dataset(["a", "b"], LABELS), plans(2, X_FIRST, old=old, patch_size=WHOLE)
    network = laid_network(2, {0: 1, 1: 3}, 4)
    store = Store(tmp_path / "models")
    local = installed(card, published(tmp_path, card.weights.files[0].name, network, planned, described), store)
    bright = {sequence: mask for sequence, mask in boxes(SHAPE).items() if sequence in card.inputs.sequences}
    labels = predicted(local, store, images_with(bright)).labels
    expected = np.zeros(SHAPE, np.uint8)
    expected[moved(bright[Modality.T1N])] = Label.SNFH
    expected[moved(bright[Modality.T1C])] = Label.ET
    np.testing.assert_array_equal(labels, expected)


@pytest.mark.parametrize("sequence", list(Modality))
def test_brain_extraction_from_any_sequence(tmp_path: Path, sequence: Modality) -> None:
    card = card_of("hd-bet-v2")
    planned, described = plans(1, X_FIRST, patch_size=WHOLE), dataset(["MRI"], BRAIN)
    store = Store(tmp_path / "models")
    served = published(tmp_path, card.weights.files[0].name, laid_network(1, {0: 1}, 2), planned, described)
    local = installed(card, served, store)
    bright = boxes(SHAPE)[Modality.T2F]
    prediction = predicted(local, store, images_with({sequence: bright}))
    np.testing.assert_array_equal(prediction.labels, moved(bright))
    assert not prediction.probabilities


def converted(tmp_path: Path, planned: dict[str, Any], described: dict[str, Any], **folds: torch.nn.Module) -> Path:
    write_folder(tmp_path / "published", folds, planned, described)
    nnunet.convert(tmp_path / "published", tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def test_spacing_is_that_of_the_plans(tmp_path: Path) -> None:
    planned = plans(4, (1, 2, 0), spacing=[0.75, 0.5, 2.0])  # the network's axes are y, x, z
    weights = converted(tmp_path, planned, dataset("abcd", REGIONS), all=laid_network(4, {}, 3))
    assert nnunet.spacing_mm(weights) == (0.5, 0.75, 2.0)


def test_channels_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    names = {"10": "k", "2": "c", "0": "a", "1": "b", **{str(number): "defghij"[number - 3] for number in range(3, 10)}}
    network = {"all": laid_network(4, {}, 3)}
    write_folder(tmp_path / "right", network, plans(11), dataset("a", REGIONS) | {"channel_names": names})
    assert "".join(read_published(tmp_path / "right")[0].channels) == "abcdefghijk"
    for wrong in ({"channel_names": {"T1": "0"}}, {"labels": {"0": "background", "1": "edema"}}):
        write_folder(tmp_path / str(wrong), network, plans(1), dataset("a", BRAIN) | wrong)
        with pytest.raises(WeightsError, match="not as nnU-Net v2 writes them"):
            read_published(tmp_path / str(wrong))


@pytest.mark.parametrize(("first", "second", "found"), [(30.0, -50.0, False), (-30.0, 50.0, True)])
def test_folds_are_averaged_before_the_activation(tmp_path: Path, first: float, second: float, found: bool) -> None:
    """Logits 30 and -50 average to -10, below the threshold; as probabilities 1 and 0 they would reach it."""
    folds = {}
    for fold, logit in (("0", first), ("1", second), ("all", -10 * (first + second))):
        folds[fold] = laid_network(4, {}, 3)
        folds[fold].decoder.seg_layers[-1].bias[:] = logit
    weights = converted(tmp_path, plans(4), dataset("abcd", REGIONS), **folds)
    parameters = card_of("tumorsegmentator-four").loader_parameters
    segmenter = nnunet.load(weights, parameters, torch.device("cpu"), torch.float32)
    prediction = segmenter.predict(images_with(boxes(SHAPE)), Silent(), 0)
    assert prediction.labels.any() == found  # fold_all, which says the contrary, is not run where there are others


def test_the_largest_component_alone_is_kept_where_the_card_says_so(tmp_path: Path) -> None:
    card = card_of("tumorsegmentator-t1-t1c")
    network = laid_network(2, {0: 1, 1: 3}, 4)
    weights = converted(tmp_path, plans(2, X_FIRST, patch_size=WHOLE), dataset("ab", LABELS), all=network)
    bright = {sequence: mask for sequence, mask in boxes(SHAPE).items() if sequence in card.inputs.sequences}
    found = []
    for output in (None, Output(largest_component=True)):
        parameters = card.loader_parameters | {"output": output}
        segmenter = nnunet.load(weights, parameters, torch.device("cpu"), torch.float32)
        found.append(segmenter.predict(images_with(bright), Silent(), 0).labels)
    assert [sorted(np.unique(labels)) for labels in found] == [[0, Label.SNFH, Label.ET], [0, Label.ET]]


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"network_class_name": "os.system"}, "the network 'system'"),
        ({"arch_kwargs": {**ARCHITECTURE["arch_kwargs"], "nonlin": "os.system"}}, "the layer 'os.system'"),
        ({"arch_kwargs": {**ARCHITECTURE["arch_kwargs"], "surprise": 1}}, "cannot be made"),
        ({"arch_kwargs": {**ARCHITECTURE["arch_kwargs"], "features_per_stage": [4, 8, 16]}}, "should be"),
    ],
)
def test_plans_that_ask_for_more_are_refused(change: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    planned = plans(4, architecture={**ARCHITECTURE, **change})
    with pytest.raises(WeightsError, match=sentence):
        converted(tmp_path, planned, dataset("abcd", REGIONS), all=laid_network(4, {}, 3))


def test_a_checkpoint_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    write_folder(tmp_path / "published", {"all": laid_network(4, {}, 3)}, plans(4), dataset("abcd", REGIONS))
    path = tmp_path / "published" / "fold_all" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    torch.save({**content, "logging": _Runs(tmp_path / "ran")}, path)
    with pytest.raises(WeightsError, match="could run as a program"):
        nnunet.convert(tmp_path / "published", tmp_path / "weights.safetensors")
    assert not (tmp_path / "ran").exists()


class _Runs:
    def __init__(self, path: Path) -> None:
        self._path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self._path,)


def test_another_layout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds 0 folders"):
        nnunet.convert(tmp_path, tmp_path / "weights.safetensors")
    write_folder(tmp_path / "published", {"all": laid_network(4, {}, 3)}, plans(4), dataset("abcd", REGIONS))
    planned = tmp_path / "published" / "plans.json"
    for content, sentence in (("<html>", "cannot be read"), (json.dumps({"configurations": {}}), "not as nnU-Net v2")):
        planned.write_text(content)
        with pytest.raises(WeightsError, match=sentence):
            nnunet.convert(tmp_path, tmp_path / "weights.safetensors")


def test_other_sequences_or_labels_than_the_cards_are_refused(tmp_path: Path) -> None:
    weights = converted(tmp_path, plans(2), dataset(["T1", "FLAIR"], LABELS), all=laid_network(2, {}, 4))
    for model, sentence in (("tumorsegmentator-t1-t1c", "other than the card"), ("tumorsegmentator-four", "names 4")):
        with pytest.raises(WeightsError, match=sentence):
            nnunet.load(weights, card_of(model).loader_parameters, torch.device("cpu"), torch.float32)
    parameters = card_of("tumorsegmentator-t1-t1c").loader_parameters | {"labels": {"1": "SNFH"}}
    with pytest.raises(WeightsError, match="'2'"):
        nnunet.load(weights, parameters, torch.device("cpu"), torch.float32)


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "dynamic_network_architectures.architectures.unet", None)
    with pytest.raises(InputError, match=r"pip install GliomaSeg\[nnunet\]"):
        converted(tmp_path, plans(4), dataset("abcd", REGIONS), all=laid_network(4, {}, 3))


def test_windows_are_spread_evenly() -> None:
    """As nnU-Net's own example: 110 voxels, windows of 64, half of one apart at most."""
    assert even(110, 64, 0.5) == [0, 23, 46]
