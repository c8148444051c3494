"""Auto3DSeg's BraTS networks: from the published archive, with its own config, to labels that are known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets import SegResNetDS

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.label_maps import compose
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import auto3dseg
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
KINDS = ("gli", "men", "met", "ped", "ssa")
NETWORK = {
    "_target_": "SegResNetDS",
    "init_filters": 8,
    "blocks_down": [1, 2, 2],
    "norm": "INSTANCE",
    "in_channels": 4,
    "out_channels": 3,
    "dsdepth": 2,
}
CONFIG = {
    "network": NETWORK,
    "roi_size": [16, 24, 16],
    "normalize_mode": "meanstd",
    "intensity_bounds": [0, 1000],
    "resample_resolution": [1.0, 1.0, 1.0],
    "sigmoid": True,
    "class_names": [{"name": "wt", "index": [1, 2, 3]}],
    "learning_rate": 0.0002,
}


def card_of(kind: str) -> Card:
    return read_card(resource("models") / f"auto3dseg-brats-{kind}.json")


def laid_network() -> SegResNetDS:
    """WT where the first channel is bright, TC where the second is, ET where the fourth is: FLAIR, T1c, T1, T2."""
    arguments = {key: value for key, value in NETWORK.items() if key != "_target_"}
    network = silenced(SegResNetDS(spatial_dims=3, **arguments))
    head = network.up_layers[-1]["head"]
    for region, channel in enumerate((0, 1, 3)):
        network.encoder.conv_init.weight[(channel, channel, *NEXT_ON_FIRST_AXIS)] = 1
        head.weight[region, channel] = 10
    head.bias[:] = -10
    return network


def checkpoint(**config: Any) -> dict[str, Any]:
    return {
        "epoch": 299,
        "best_metric": np.float64(0.9),
        "config": {**CONFIG, **config},
        "state_dict": laid_network().state_dict(),
    }


def published(folder: Path, kind: str, content: object) -> Path:
    inside = folder / "published" / "inside"
    inside.mkdir(parents=True)
    torch.save(content, inside / "model.pt")
    (inside / "labels.csv").write_text("label_value,name\n1,Neoplasm\n")
    return zipped(inside, f"brats-{kind}-v1.0.0.zip").parent


@pytest.mark.parametrize(("kind", "ras"), [("gli", False), ("met", True)])
def test_from_the_published_archive_to_labels(kind: str, ras: bool, tmp_path: Path) -> None:
    store = Store(tmp_path / "models")
    local = installed(card_of(kind), published(tmp_path, kind, checkpoint(orientation_ras=ras)), store)
    bright = boxes(SHAPE)
    prediction = predicted(local, store, images_with(bright))
    step = 1 if ras else -1  # the network's first axis runs to the right, not to the left
    parts = [moved(bright[sequence], step) for sequence in (Modality.T2F, Modality.T1C, Modality.T2W)]
    np.testing.assert_array_equal(prediction.labels, compose(*parts))

    swapped = images_with({**bright, Modality.T2F: bright[Modality.T1N], Modality.T1N: bright[Modality.T2F]})
    other = predicted(local, store, swapped).labels
    assert (other[moved(bright[Modality.T1N], step)] > 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_cards_name_the_tumours_they_were_trained_on(kind: str) -> None:
    card = card_of(kind)
    assert card.training
    assert card.space.spacing_mm is None
    assert card.inputs.sequences == (Modality.T2F, Modality.T1C, Modality.T1N, Modality.T2W)


def test_spacing_is_the_checkpoints(tmp_path: Path) -> None:
    torch.save(checkpoint(resample_resolution=[0.5, 0.75, 2]), tmp_path / "model.pt")
    auto3dseg.convert(tmp_path, tmp_path / "weights.safetensors")
    assert auto3dseg.spacing_mm(tmp_path / "weights.safetensors") == (0.5, 0.75, 2.0)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"network": {"_target_": "os.system", "command": "touch ran"}}, "'os.system' instead of SegResNetDS"),
        ({"network": {**NETWORK, "preprocess": {"_target_": "os.system"}}}, "'preprocess'"),
        ({"network": {**NETWORK, "surprise": 1}}, "'surprise'"),
    ],
)
def test_a_config_that_asks_for_more_is_refused(config: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    torch.save(checkpoint(**config), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match=sentence):
        auto3dseg.convert(tmp_path, tmp_path / "weights.safetensors")


@pytest.mark.parametrize(
    ("config", "sentence"),
    [({"normalize_mode": "ct"}, "normalisation 'ct'"), ({"sigmoid": False}, "exclusive classes")],
)
def test_a_model_of_another_kind_is_refused(config: dict[str, Any], sentence: str, tmp_path: Path) -> None:
    torch.save(checkpoint(**config), tmp_path / "model.pt")
    weights = tmp_path / "weights.safetensors"
    auto3dseg.convert(tmp_path, weights)
    with pytest.raises(WeightsError, match=sentence):
        auto3dseg.load(weights, card_of("gli").loader_parameters, torch.device("cpu"), torch.float32)


def test_a_file_without_a_config_is_refused(tmp_path: Path) -> None:
    torch.save(laid_network().state_dict(), tmp_path / "model.pt")
    with pytest.raises(WeightsError, match="no 'config'"):
        auto3dseg.convert(tmp_path, tmp_path / "weights.safetensors")
