"""nobrainer's own definition of its U-Net, built and saved by Keras, against ours.

Needs keras (with its PyTorch back end, so that TensorFlow is not needed) and h5py, and nobrainer's ``models/unet.py``.
What the program ams does around the network is written down here once more, from its ``cli.py``.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

os.environ["KERAS_BACKEND"] = "torch"

import keras
import numpy as np
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Label
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.card import find_card
from GliomaSegLib.zoo.loaders import nobrainer
from Testing.parity.comparison import Answers, Found, made_images, run, told

BLOCK, VOLUME = 32, 64


def compare(given: argparse.Namespace) -> Iterator[Found]:
    """The network with batch normalisation and without."""
    card = find_card("ams-meningioma")
    threshold = card.output.threshold
    network = card.network.model_copy(update={"parameters": {"volume_voxels": VOLUME, "block_voxels": BLOCK}})
    card = card.model_copy(update={"network": network})
    image = made_images((VOLUME, VOLUME, VOLUME))[Modality.T1C]
    # As a conformed image is: conforming it again changes nothing, so that the network alone is compared.
    image = np.rint(np.clip(image / np.percentile(image, 99), 0, 1) * 255).astype(np.float32)
    unet = their_unet(given.unet)
    answers = []
    for normalised in (False, True):
        model = unet(n_classes=1, input_shape=(BLOCK, BLOCK, BLOCK, 1), batchnorm=normalised)
        spread(model)
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            model.save(folder / "model.h5")
            model = keras.models.load_model(folder / "model.h5", compile=False)
            blocks = to_blocks((image - image.mean()) / image.std())
            found = from_blocks(model.predict(blocks[..., None], batch_size=1, verbose=0)[..., 0])
            theirs = ((found > threshold) * np.uint8(Label.SNFH)).transpose(2, 1, 0)
            nobrainer.convert(folder, folder / "weights.safetensors")
            segmenter = nobrainer.load(
                folder / "weights.safetensors", card.contract, torch.device("cpu"), torch.float32
            )
            answers.append(Answers.of(segmenter.predict({Modality.T1C: image.transpose(2, 1, 0)}, Silent(), 0), theirs))
    yield told(
        card,
        "keras",
        answers,
        "python -m Testing.parity.nobrainer --unet FILE",
        "nobrainer's unet saved by Keras, generated weights, with and without batch normalisation, conformed image; "
        "FreeSurfer's conform itself was not compared",
        threshold,
    )


def their_unet(path: Path) -> object:
    """nobrainer's function; what it takes from TensorFlow, Keras has under the same names."""
    tensorflow = ModuleType("tensorflow")
    tensorflow.keras = keras
    sys.modules |= {"tensorflow": tensorflow, "tensorflow.keras": keras}
    spec = importlib.util.spec_from_file_location("their_unet", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    for name in ("tensorflow", "tensorflow.keras"):  # Keras must not take it for the real one
        del sys.modules[name]
    return module.unet


def spread(model: keras.Model) -> None:
    """Weights of the size that keeps an image alive through the network, and moving averages that do something."""
    generator = np.random.default_rng(0)
    for layer in model.layers:
        values = layer.get_weights()
        if len(values) == 2:
            fan_in = values[0].size / values[0].shape[-1 if "transpose" not in layer.name else -2]
            kernel = generator.normal(0, (2 / fan_in) ** 0.5, values[0].shape)
            layer.set_weights([kernel, generator.normal(0, 0.1, values[1].shape)])
        elif len(values) == 4:
            mean = generator.normal(0, 0.2, values[0].shape)
            layer.set_weights([values[0], values[1], mean, generator.uniform(0.5, 2, values[0].shape)])


def to_blocks(volume: np.ndarray) -> np.ndarray:
    """``[x, y, z]`` as blocks ``[n, x, y, z]`` that do not overlap."""
    count = VOLUME // BLOCK
    parts = volume.reshape(count, BLOCK, count, BLOCK, count, BLOCK).transpose(0, 2, 4, 1, 3, 5)
    return parts.reshape(-1, BLOCK, BLOCK, BLOCK)


def from_blocks(blocks: np.ndarray) -> np.ndarray:
    """The inverse of :func:`to_blocks`."""
    count = VOLUME // BLOCK
    parts = blocks.reshape(count, count, count, BLOCK, BLOCK, BLOCK).transpose(0, 3, 1, 4, 2, 5)
    return parts.reshape(VOLUME, VOLUME, VOLUME)


if __name__ == "__main__":
    run(compare, __doc__, unet={"type": Path, "required": True, "help": "nobrainer/models/unet.py"})
