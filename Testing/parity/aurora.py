"""The package ``brainles-aurora`` (without its random test-time augmentation), against ours, for its seven sets.

The package's window is made smaller, for both alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from brainles_aurora.inferer import model as their_model
from brainles_aurora.inferer.config import AuroraInfererConfig
from brainles_aurora.inferer.constants import Device
from brainles_aurora.inferer.inferer import AuroraInferer
from monai.networks.nets import BasicUNet
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Label
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import aurora
from Testing.parity.comparison import Answers, Found, generated, made_images, reported, run

SHAPE = (32, 56, 44)  # z, y, x: narrower than the window along x
WINDOW = (48, 48, 32)  # x, y, z
THEIR_NAMES = {Modality.T1N: "t1", Modality.T1C: "t1c", Modality.T2W: "t2", Modality.T2F: "fla"}


def compare(_given: argparse.Namespace) -> Iterator[Found]:
    """The seven networks, one after the other."""
    card = find_card("aurora-metastasis")
    card = replace(card, inference=replace(card.inference, patch=WINDOW))
    images = made_images(SHAPE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for seed, (set_name, order) in enumerate(aurora.SETS.items()):
            network = BasicUNet(in_channels=len(order), **card.network.parameters["arguments"])
            generated(network, network.final_conv, seed)
            state = {f"module.{key}": value for key, value in network.state_dict().items()}
            torch.save({"model_state": state}, folder / f"{set_name}_best.tar")
        aurora.convert(folder, folder / "weights.safetensors")
        segmenter = aurora.load(
            folder / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32
        )
        theirs = [of_the_package(folder, {one: images[one] for one in order}) for order in aurora.SETS.values()]
        ours = [segmenter.predict({one: images[one] for one in order}, Silent(), 0) for order in aurora.SETS.values()]
    yield reported(
        card,
        "brainles-aurora",
        list(map(Answers.of, ours, theirs)),
        "python -m Testing.parity.aurora",
        f"all seven sets, generated weights and image, window {WINDOW} for both, without the package's random "
        "test-time augmentation",
    )


def of_the_package(folder: Path, images: dict[Modality, NDArray[np.float32]]) -> NDArray[np.uint8]:
    """The package's labels ``[z, y, x]`` in ours."""
    their_model.check_model_weights = lambda: folder
    inferer = AuroraInferer(AuroraInfererConfig(tta=False, device=Device.CPU, crop_size=WINDOW))
    found = inferer.infer(
        **{THEIR_NAMES[sequence]: image.transpose(2, 1, 0) for sequence, image in images.items()},
        log_file=folder / "log.txt",
    )
    labels = next(value for key, value in found.items() if str(getattr(key, "value", key)) == "segmentation")
    return np.array([0, Label.SNFH, Label.ET], np.uint8)[labels.transpose(2, 1, 0)]


if __name__ == "__main__":
    run(compare, __doc__)
