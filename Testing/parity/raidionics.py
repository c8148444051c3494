"""The package ``raidionicsseg``, against ours: the whole head resized, windows that overlap, and slabs.

The generated images have the spacing of the settings, so that nothing is resampled to a spacing on either side.
"""

from __future__ import annotations

import argparse
import configparser
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from numpy.typing import NDArray
from raidionicsseg.fit import run_model

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Label
from GliomaSegLib.progress import Silent
from GliomaSegLib.resources import resource
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_check import read_card
from GliomaSegLib.zoo.loaders import raidionics
from GliomaSegLib.zoo.loaders.raidionics_segmenter import _crop
from Testing.parity.comparison import Answers, Found, made_images, mismatches, reported, run
from Testing.support.raidionics_folder import network, pipeline, settings

SHAPE = (40, 52, 44)  # z, y, x
NAMES = {Modality.T1C: "T1-CE", Modality.T1N: "T1-w", Modality.T2F: "FLAIR", Modality.T2W: "T2"}
MODELS = ("gbm", "lgg", "meningioma", "tumor-core", "flair-changes", "postop", "brain")
LABELS = {"WT": Label.SNFH, "TC": Label.NETC, "ET": Label.ET}
LAYOUTS: dict[str, dict[str, str]] = {
    "whole head resized, channels last, axes turned": {
        "new_axial_size": "32,48,36",
        "swap_training_input": "True",
        "intensity_clipping_range": "0,99.5",
    },
    "windows, channels first, activation left out": {
        "patch_size": "24,32,56",
        "patch_offset": "8,10,0",
        "channels_order": "channels_first",
        "training_backend": "Torch",
        "activation_layer_included": "False",
        "normalization_method": "zeromean_nonzero",
    },
    "slabs of slices": {
        "new_axial_size": "40,48",
        "slicing_plane": "axial",
        "normalization_method": "zeromean",
    },
}


def compare(_given: argparse.Namespace) -> Iterator[Found]:
    """Each card in its layouts."""
    for name in MODELS:
        card = read_card(resource("models") / f"raidionics-{name}.json")
        answers = [compared(card, more) for more in LAYOUTS.values()]
        for layout, answer in zip(LAYOUTS, answers, strict=True):
            print(f"{layout}: {mismatches(answer)} voxels differ, and beyond the tolerance")
        yield reported(
            card,
            "raidionicsseg",
            answers,
            "python -m Testing.parity.raidionics",
            f"generated weights (one convolution) and image on the grid of the settings; {'; '.join(LAYOUTS)}",
        )


def compared(card: Card, more: dict[str, str]) -> Answers:
    """Of the only region."""
    order = next(iter(card.inputs.sets), card.inputs.sequences)
    images = {sequence: image for sequence, image in made_images(SHAPE).items() if sequence in order}
    if card.space.brain == "head":  # nothing is stripped: there is something everywhere
        images = {sequence: image + 30 for sequence, image in images.items()}
    classes = list(card.output.channels)
    sigmoid = card.output.activation == "sigmoid"
    first = more.get("channels_order") == "channels_first"
    included = more.get("activation_layer_included", "True") == "True"
    pairs = "0,1" if len(order) > 1 else ""
    channels = len(order) + bool(pairs)
    generator = np.random.default_rng(len(order))
    weight = generator.normal(0, 2, (len(classes), channels, 3, 3, 3)).astype(np.float32)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "published" / "model"
        activation = ("Sigmoid" if sigmoid else "Softmax") if included else None
        network(weight, [0.1] * len(classes), first, activation, folder / "0" / "model.onnx")
        crop = "brain_mask" if card.space.brain == "stripped" else "minimum"
        if "slicing_plane" in more:
            more = {**more, "slab_size": str(fitting_slab(images[order[0]], crop))}
        ini = settings(
            len(order),
            classes,
            [0.5] * len(classes),
            background_cropping=crop,
            diffloader_pairs=pairs,
            activation_layer_type="sigmoid" if sigmoid else "softmax",
            **more,
        )
        (folder / "pre_processing.ini").write_text(ini)
        (folder / "pipeline.json").write_text(pipeline([NAMES[one] for one in order], "model"))
        weights = Path(temporary) / "weights.safetensors"
        raidionics.convert(folder.parent, weights)
        # As if a brain extractor found the whole tumour: its answer to a brain has no map.
        output = replace(card.output, channels=(*classes[:-1], classes[-1].replace("brain", "WT")))
        contract = card.loader_parameters | {"output": output}
        segmenter = raidionics.load(weights, contract, torch.device("cpu"), torch.float32)
        ours = segmenter.predict(images, Silent(), 0)
        theirs = of_the_package(folder, [images[one] for one in order], classes, Path(temporary))
    return Answers.of(ours, np.where(theirs > 0, LABELS[output.channels[-1]], 0).astype(np.uint8))


def fitting_slab(image: NDArray[np.float32], crop: str) -> int:
    """Slices that fill the resized image without rest: the package fails where some are left over."""
    _, height, depth = (side.stop - side.start for side in _crop(image.transpose(2, 1, 0), crop))
    slices = int(depth * (48 / height))
    return max(number for number in range(1, 17) if slices % number == 0)


def of_the_package(
    folder: Path, images: list[NDArray[np.float32]], classes: list[str], work: Path
) -> NDArray[np.uint8]:
    """The package's mask of the last class, ``[z, y, x]``."""
    (work / "inputs").mkdir(parents=True)
    (work / "outputs").mkdir()
    for number, image in enumerate(images):
        nib.save(nib.Nifti1Image(image.transpose(2, 1, 0), np.eye(4)), work / "inputs" / f"input{number}.nii.gz")
    brain = (np.stack(images) != 0).any(axis=0).astype(np.uint8).transpose(2, 1, 0)
    nib.save(nib.Nifti1Image(brain, np.eye(4)), work / "brain.nii.gz")
    config = configparser.ConfigParser()
    config["System"] = {
        "gpu_id": "-1",
        "inputs_folder": str(work / "inputs"),
        "output_folder": str(work / "outputs"),
        "model_folder": str(folder),
    }
    config["Runtime"] = {"reconstruction_method": "thresholding", "reconstruction_order": "resample_first"}
    config["Neuro"] = {"brain_segmentation_filename": str(work / "brain.nii.gz")}
    with (work / "config.ini").open("w") as stream:
        config.write(stream)
    run_model(str(work / "config.ini"))
    found = nib.load(work / "outputs" / f"labels_{classes[-1]}.nii.gz")
    return np.asarray(found.dataobj).transpose(2, 1, 0)


if __name__ == "__main__":
    run(compare, __doc__)
