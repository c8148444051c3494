"""SlicerMONAIAuto3DSeg's own inference script, against ours.

Needs monai, fire and pynrrd, and the script (github.com/lassoan/SlicerMONAIAuto3DSeg,
``MONAIAuto3DSeg/Scripts/auto3dseg_segresnet_inference.py``).
"""

from __future__ import annotations

import argparse
import importlib.util
import tempfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import nrrd
import numpy as np
import SimpleITK as sitk
import torch
from monai.networks.nets import SegResNetDS
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.label_maps import to_internal
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import auto3dseg
from Testing.parity.comparison import Answers, Found, generated, made_images, reported, run

SHAPE = (44, 52, 60)  # z, y, x
MODELS = tuple(f"auto3dseg-brats-{kind}" for kind in ("gli", "men", "met", "ped", "ssa"))
ARGUMENTS = {
    "init_filters": 16,
    "blocks_down": [1, 2, 2, 4],
    "norm": "INSTANCE",
    "in_channels": 4,
    "out_channels": 3,
    "dsdepth": 4,
}


def compare(given: argparse.Namespace) -> Iterator[Found]:
    """Both orientations that a config can name."""
    card = find_card(MODELS[0])
    script = _module(given.script)
    images = made_images(SHAPE)
    answers = []
    for ras in (False, True):
        network = SegResNetDS(spatial_dims=3, **ARGUMENTS)
        generated(network, network.up_layers[-1]["head"])
        config = {
            "network": {"_target_": "SegResNetDS", "spatial_dims": 3, **ARGUMENTS},
            "roi_size": [48, 40, 32],
            "normalize_mode": "meanstd",
            "intensity_bounds": [0, 1000],
            "resample_resolution": [1.0, 1.0, 1.0],
            "sigmoid": True,
            "orientation_ras": ras,
        }
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            torch.save({"config": config, "state_dict": network.state_dict(), "epoch": 1}, folder / "model.pt")
            theirs = of_the_script(script, folder, images, card.inputs.sequences)
            auto3dseg.convert(folder, folder / "weights.safetensors")
            segmenter = auto3dseg.load(
                folder / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32
            )
            ours = segmenter.predict(images, Silent(), 0)
            answers.append(Answers.of(ours, to_internal(theirs, LabelScheme.GLIOMASEG)))
    yield reported(
        card,
        "monai",
        answers,
        "python -m Testing.parity.auto3dseg --script FILE",
        "SlicerMONAIAuto3DSeg's script, generated weights and image, both orientations that a config can name",
        models=MODELS,
    )


def of_the_script(
    script: ModuleType, folder: Path, images: dict[Modality, NDArray[np.float32]], order: tuple[Modality, ...]
) -> NDArray[np.uint8]:
    """The script's label file ``[z, y, x]`` (1 core, 2 edema, 3 enhancing)."""
    files = []
    for sequence in order:
        files.append(str(folder / f"{sequence.value}.nrrd"))
        sitk.WriteImage(sitk.GetImageFromArray(images[sequence]), files[-1])
    script.main(str(folder / "model.pt"), files[0], str(folder / "result.nrrd"), "brats", files[1], files[2], files[3])
    labels, _ = nrrd.read(str(folder / "result.nrrd"))
    return labels.astype(np.uint8).transpose(2, 1, 0)


def _module(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("their_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    run(compare, __doc__, script={"type": Path, "required": True})
