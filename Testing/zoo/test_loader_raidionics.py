"""Raidionics' networks: from the published archive, with its own settings, to labels that are known."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from GliomaSegLib.case import Input, Modality, Preoperative
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.labels import Label
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import raidionics
from GliomaSegLib.zoo.store import Store
from Testing.support.published import NEXT_ON_FIRST_AXIS, boxes, images_with, installed, moved, predicted, zipped

pytest.importorskip("onnxruntime", reason="needs the extra 'onnx'")
pytest.importorskip("onnx", reason="makes networks")

from Testing.support.raidionics_folder import network, pipeline, settings

SHAPE = (24, 26, 28)
CARDS = ("gbm", "lgg", "meningioma", "tumor-core", "flair-changes", "postop", "postop-4p", "postop-5p", "brain")


def card_of(name: str) -> Card:
    return read_card(resource("models") / f"raidionics-{name}.json")


def laid(channels: int, lit: int, classes: int) -> NDArray[np.float32]:
    """Weights whose last class follows input ``lit``, moved along x; of two classes the first opposes it."""
    weight = np.zeros((classes, channels, 3, 3, 3), np.float32)
    weight[(classes - 1, lit, *NEXT_ON_FIRST_AXIS)] = 10
    return weight


def published(tmp_path: Path, card: Card, folder: str, files: dict[str, str]) -> Path:
    """The archive of a network that lies in ``folder`` already, with the other files of the folder."""
    inside = tmp_path / "published" / "inside"
    for name, content in files.items():
        (inside / folder / name).write_text(content)
    return zipped(inside, card.weights.files[0].name).parent


@pytest.mark.parametrize("shown", ["whole", "windows", "slabs"])
def test_one_sequence_with_softmax(tmp_path: Path, shown: str) -> None:
    """Before surgery: channels behind the axes, the network where older archives have it."""
    card = card_of("gbm")
    how = {
        "whole": {"new_axial_size": "28,26,24"},
        "windows": {"patch_size": "16,28,16", "patch_offset": "4,0,4"},
        "slabs": {"new_axial_size": "28,26", "slab_size": "10", "slicing_plane": "axial"},
    }[shown]
    inside = tmp_path / "published" / "inside" / "MRI_GBM"
    network(laid(1, 0, 2), (5, 0), False, "Softmax", inside / "model.onnx")
    files = {
        "pre_processing.ini": settings(1, ["Background", "Tumor"], [0.0, 0.9], background_cropping="brain_mask", **how),
        "pipeline.json": pipeline(["T1-CE"], "MRI_GBM"),
    }
    store = Store(tmp_path / "models")
    local = installed(card, published(tmp_path, card, "MRI_GBM", files), store)
    bright = boxes(SHAPE)
    prediction = predicted(local, store, images_with({Modality.T1C: bright[Modality.T1C]}, edge=0))
    expected = np.where(moved(bright[Modality.T1C]), Label.NETC, 0)
    np.testing.assert_array_equal(prediction.labels, expected)
    assert store.space(local).spacing_mm == (1.0, 1.0, 1.0)


def test_sets_of_sequences_each_with_its_network(tmp_path: Path) -> None:
    """After surgery: a folder per set, channels before the axes, a fold each, the activation left out, and for two
    sequences also their difference. The last input decides, so a wrong order shows."""
    card = card_of("postop")
    inside = tmp_path / "published" / "inside"
    names = {Modality.T1C: "t1c", Modality.T1N: "t1w", Modality.T2F: "t2f"}
    written = {Modality.T1C: "T1-CE", Modality.T1N: "T1-w", Modality.T2F: "FLAIR"}
    for order in card.inputs.sets:
        folder = inside / "MRI_TumorCE_Postop" / ("_".join(names[one] for one in order) + "_t1d" * (len(order) == 2))
        channels = len(order) + (len(order) == 2)
        network(laid(channels, channels - 1, 1), (-5,), True, None, folder / "0" / "model.onnx")
        network(laid(channels, 0, 1), (-99,), True, None, folder / "1" / "model.onnx")
        ini = settings(
            len(order),
            ["Tumor"],
            [0.7],
            patch_size="16,24,16",
            patch_offset="8,8,8",
            channels_order="channels_first",
            training_backend="Torch",
            activation_layer_included="False",
            activation_layer_type="sigmoid",
            diffloader_pairs="0,1" if len(order) == 2 else "",
        )
        (folder / "pre_processing.ini").write_text(ini)
        (folder / "pipeline.json").write_text(pipeline([written[one] for one in order], folder.name))
    store = Store(tmp_path / "models")
    local = installed(card, zipped(inside, card.weights.files[0].name).parent, store)
    bright = boxes(SHAPE)
    images = images_with({one: bright[one] for one in card.inputs.sequences}, edge=0)
    difference = bright[Modality.T1C] ^ bright[Modality.T1N]
    decides = {3: bright[Modality.T2F], 2: difference, 1: bright[Modality.T1C]}
    for order in card.inputs.sets:
        labels = predicted(local, store, {one: images[one] for one in order}).labels
        expected = np.where(moved(decides[len(order)]), Label.ET, 0)
        np.testing.assert_array_equal(labels, expected, err_msg=str(order))
    with pytest.raises(InputError, match="no network for FLAIR alone"):
        predicted(local, store, {Modality.T2F: images[Modality.T2F]})


@pytest.mark.parametrize("sequence", list(Modality))
def test_brain_from_any_sequence(tmp_path: Path, sequence: Modality) -> None:
    card = card_of("brain")
    inside = tmp_path / "published" / "inside" / "MRI_Brain"
    network(laid(1, 0, 2), (5, 0), False, "Softmax", inside / "model.onnx")
    ini = settings(1, ["Background", "Brain"], [0.0, 0.5], new_axial_size="28,26,24", background_cropping="minimum")
    store = Store(tmp_path / "models")
    local = installed(card, published(tmp_path, card, "MRI_Brain", {"pre_processing.ini": ini}), store)
    bright = boxes(SHAPE)[Modality.T2F]
    prediction = predicted(local, store, images_with({sequence: bright}, edge=0))
    np.testing.assert_array_equal(prediction.labels, moved(bright))
    assert not prediction.probabilities


def converted(tmp_path: Path, ini: str, description: str | None = None, channels: int = 1) -> Path:
    folder = tmp_path / "published" / "MRI_Test"
    network(laid(channels, 0, 2), (0, 0), False, "Softmax", folder / "model.onnx")
    (folder / "pre_processing.ini").write_text(ini)
    if description:
        (folder / "pipeline.json").write_text(description)
    raidionics.convert(folder.parent, tmp_path / "weights.safetensors")
    return tmp_path / "weights.safetensors"


def loaded(weights: Path, card: Card) -> raidionics.Segmenter:
    return raidionics.load(weights, card.loader_parameters, torch.device("cpu"), torch.float32)


@pytest.mark.parametrize("decides", [0, 1, -2, -1])
@pytest.mark.parametrize("name", ["postop-4p", "postop-5p"])
def test_the_study_before_surgery_is_shown_in_the_order_of_the_pipeline(
    tmp_path: Path, name: str, decides: int
) -> None:
    """Configurations D and E of Helland 2023, with inputs in another order than the card's. Each in turn decides."""
    card = card_of(name)
    written = {Modality.T1N: "T1-w", Modality.T2F: "FLAIR"}
    between = [one for one in card.inputs.sequences if one is not Modality.T1C]
    order = [Modality.T1C, Preoperative.TUMOUR, *between, Preoperative.T1C]
    description = pipeline(
        [written.get(one, "T1-CE") for one in order],
        "MRI_GBM_Postop",
        timestamps=[0 if isinstance(one, Preoperative) else 1 for one in order],
        labels=[1],
    )
    inside = tmp_path / "published" / "inside" / "MRI_GBM_Postop"
    network(laid(len(order), range(len(order))[decides], 2), (5, 0), False, "Softmax", inside / "model.onnx")
    ini = settings(len(order), ["Background", "Tumor"], [0.0, 0.9], new_axial_size="28,26,24")
    store = Store(tmp_path / "models")
    files = {"pre_processing.ini": ini, "pipeline.json": description}
    local = installed(card, published(tmp_path, card, "MRI_GBM_Postop", files), store)
    box = np.zeros(SHAPE, bool)
    box[7:12, 8:15, 9:16] = True
    bright: dict[Input, NDArray[np.bool_]] = {one: boxes(SHAPE)[one] for one in card.inputs.sequences}
    bright |= {Preoperative.T1C: np.roll(box, 5, axis=1), Preoperative.TUMOUR: np.roll(box, -3, axis=0)}
    images = images_with(bright, edge=0)
    images[Preoperative.TUMOUR] = bright[Preoperative.TUMOUR].astype(np.float32)
    labels = predicted(local, store, images).labels
    np.testing.assert_array_equal(labels, np.where(moved(bright[order[decides]]), Label.ET, 0))
    del images[Preoperative.T1C]
    with pytest.raises(InputError, match="no network for"):
        predicted(local, store, images)


def test_an_image_of_before_that_is_not_known_here_leaves_the_order_to_the_card(tmp_path: Path) -> None:
    description = pipeline(["T1-CE", "T1-w", "FLAIR", "T1-CE"], "MRI_GBM_Postop", timestamps=[1, 1, 0, 0], labels=[3])
    ini = settings(4, ["Background", "Tumor"], [0.0, 0.5], new_axial_size="28,26,24")
    loaded(converted(tmp_path, ini, description, 4), card_of("postop-4p"))
    with pytest.raises(WeightsError, match=r"no network for what its card takes \(T1 \+ contrast, T1, FLAIR; or"):
        loaded(tmp_path / "weights.safetensors", card_of("postop"))


def test_normalisation_clipping_and_axes_are_those_of_the_settings(tmp_path: Path) -> None:
    """x is exchanged with z: what the network moves along its first axis moves along z."""
    more = {"new_axial_size": "28,26,24", "swap_training_input": "True", "normalization_method": "zeromean"}
    ini = settings(1, ["Background", "Tumor"], [0.0, 0.9], intensity_clipping_range="0,99.5", **more)
    bright = boxes(SHAPE)[Modality.T1C]
    images = images_with({Modality.T1C: bright}, edge=0)
    images[Modality.T1C][0, 0, 0] = 1e6  # would flatten everything else
    segmenter = loaded(converted(tmp_path, ini), card_of("gbm"))
    labels = segmenter.predict(images, Silent(), 0).labels
    np.testing.assert_array_equal(labels[2:] > 0, np.roll(bright, -1, axis=0)[2:])


@pytest.mark.parametrize(
    ("more", "sentence"),
    [
        ({"imaging_modality": "CT"}, "network for CT"),
        ({}, "neither the size"),
        ({"new_axial_size": "28,26", "slicing_plane": "sagittal"}, "other than axial"),
        ({"patch_size": "16,16"}, "cannot be used"),
    ],
)
def test_settings_that_ask_for_more_are_refused(tmp_path: Path, more: dict[str, str], sentence: str) -> None:
    with pytest.raises(WeightsError, match=sentence):
        converted(tmp_path, settings(1, ["Background", "Tumor"], [0.0, 0.5], **more))


def test_what_does_not_fit_the_card_is_refused(tmp_path: Path) -> None:
    classes = ["Background", "Tumor"]
    stripped = settings(1, classes, [0.0, 0.5], new_axial_size="28,26,24", background_cropping="brain_mask")
    with pytest.raises(WeightsError, match="'brain_mask'"):
        loaded(converted(tmp_path, stripped), card_of("meningioma"))
    other = settings(1, classes, [0.0, 0.5], new_axial_size="28,26,24", normalization_method="surprise")
    with pytest.raises(WeightsError, match="'surprise'"):
        loaded(converted(tmp_path, other), card_of("gbm"))
    more = settings(1, classes, [0.0, 0.5, 0.5], new_axial_size="28,26,24")
    with pytest.raises(WeightsError, match="3 channels"):
        loaded(converted(tmp_path, more), card_of("gbm"))


def test_another_layout_or_a_damaged_network_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"no pre_processing\.ini"):
        raidionics.convert(tmp_path, tmp_path / "weights.safetensors")
    (tmp_path / "pre_processing.ini").write_text(settings(1, ["Background", "Tumor"], [0.5], new_axial_size="8,8,8"))
    with pytest.raises(WeightsError, match="holds no network"):
        raidionics.convert(tmp_path, tmp_path / "weights.safetensors")
    (tmp_path / "model.onnx").write_bytes(b"<html>")
    with pytest.raises(WeightsError, match="no network that onnxruntime can read"):
        raidionics.convert(tmp_path, tmp_path / "weights.safetensors")


def test_without_the_package_one_sentence_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(InputError, match=r"pip install GliomaSeg\[onnx\]"):
        converted(tmp_path, settings(1, ["Background", "Tumor"], [0.5], new_axial_size="28,26,24"))


@pytest.mark.parametrize("name", CARDS)
def test_cards_leave_to_the_files_what_the_files_say(name: str) -> None:
    card = card_of(name)
    assert card.space.spacing_mm is None
    assert card.normalisation is not None
    assert card.normalisation.method == "published"
    if card.inputs.preoperative:
        with pytest.raises(InputError, match=r"give the study before surgery \(--preoperative\)"):
            card.regions_given(card.inputs.sequences)
        assert card.regions_given(card.inputs.sequences, earlier=True) == card.regions
