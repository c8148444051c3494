"""``monai.bundle`` running ``brats_mri_segmentation`` itself, against ours.

Needs monai, pytorch-ignite and nibabel, and the bundle's folder (github.com/Project-MONAI/model-zoo,
``models/brats_mri_segmentation``). The bundle's window is made smaller, for both alike.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import torch
from monai.bundle import ConfigParser
from monai.networks.nets import SegResNet
from numpy.typing import NDArray

from GliomaSegLib.case import Modality
from GliomaSegLib.label_maps import to_internal
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import monai_bundle
from Testing.parity.comparison import Answers, Found, generated, made_images, reported, run

SHAPE = (44, 52, 60)  # z, y, x
WINDOW = (48, 40, 32)  # x, y, z
BRATS_AFFINE = np.diag([-1.0, -1.0, 1.0, 1.0])


def compare(given: argparse.Namespace) -> Iterator[Found]:
    """The bundle's own evaluator."""
    card = find_card("monai-brats18-segresnet")
    inference = replace(card.inference, patch=WINDOW)
    card = replace(card, inference=inference)
    network = SegResNet(**card.network.parameters["arguments"])
    generated(network, network.conv_final[2].conv)
    images = made_images(SHAPE)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        torch.save(network.state_dict(), folder / "model.pt")
        theirs = of_the_bundle(given.bundle, folder, images, card.inputs.sequences)
        monai_bundle.convert(folder, folder / "weights.safetensors")
        segmenter = monai_bundle.load(
            folder / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32
        )
        ours = segmenter.predict(images, Silent(), 0)
    yield reported(
        card,
        "monai",
        [Answers.of(ours, to_internal(theirs, LabelScheme.BRATS2017))],
        "python -m Testing.parity.monai_bundle --bundle FOLDER",
        f"generated weights and image, window {WINDOW} for both",
    )


def of_the_bundle(
    bundle: Path, folder: Path, images: dict[Modality, NDArray[np.float32]], order: tuple[Modality, ...]
) -> NDArray[np.uint8]:
    """The bundle's label file ``[z, y, x]`` (1 core, 2 edema, 4 enhancing)."""
    files = []
    for sequence in order:
        files.append(str(folder / f"{sequence.value}.nii.gz"))
        nibabel.save(nibabel.Nifti1Image(images[sequence].transpose(2, 1, 0), BRATS_AFFINE), files[-1])
    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser.update(
        {
            "output_dir": str(folder / "eval"),
            "test_datalist": [{"image": files}],
            "device": "$torch.device('cpu')",
            "amp": False,
            "evaluator::amp": False,
            "inferer::roi_size": list(WINDOW),
            "dataloader::num_workers": 0,
            "checkpointloader::load_path": str(folder / "model.pt"),
        }
    )
    parser.parse()
    parser.get_parsed_content("initialize")
    parser.get_parsed_content("evaluator").run()
    written = next((folder / "eval").rglob("*_seg.nii.gz"))
    return np.asarray(nibabel.load(written).dataobj).astype(np.uint8).transpose(2, 1, 0)


if __name__ == "__main__":
    run(compare, __doc__, bundle={"type": Path, "required": True})
