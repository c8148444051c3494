"""resseg's own code (with the packages torchio and unet), against ours, with its real weights on a real image.

Needs a checkout of github.com/fepegar/resseg (its folder ``src``), its weights, and an image whose voxels are 1 mm.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk
import torch

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Label
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image
from GliomaSegLib.progress import Silent
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.loaders import resseg
from Testing.parity.comparison import Answers, Found, reported, run


def compare(given: argparse.Namespace) -> Iterator[Found]:
    """The real weights on a real image."""
    sys.path.insert(0, str(given.source))
    from resseg.inference import segment_resection
    from resseg.model import ressegnet

    card = find_card("resseg-cavity")
    image = sitk.ReadImage(str(given.image), sitk.sitkFloat32)
    image = resample_image(image, model_grid(image, card.space.spacing_mm, card.space.orientation))
    if given.crop:
        image = sitk.RegionOfInterest(image, given.crop[3:], given.crop[:3])
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sitk.WriteImage(image, str(folder / "image.nii.gz"))
        network = ressegnet(pretrained=False)
        file = given.weights / card.weights.files[0].name
        network.load_state_dict(torch.load(file, weights_only=True))
        segment_resection(folder / "image.nii.gz", network, folder / "cavity.nii.gz")
        cavity = sitk.DICOMOrient(sitk.ReadImage(str(folder / "cavity.nii.gz")), card.space.orientation)
        theirs = sitk.GetArrayFromImage(cavity)
        resseg.convert(given.weights, folder / "weights.safetensors")
        segmenter = resseg.load(
            folder / "weights.safetensors", card.loader_parameters, torch.device("cpu"), torch.float32
        )
        ours = segmenter.predict({Modality.T1C: sitk.GetArrayFromImage(image)}, Silent(), 0)
    yield reported(
        card,
        "unet",
        [Answers.of(ours, (theirs > 0) * Label.RC.value)],
        "python -m Testing.parity.resseg --source FOLDER --weights FOLDER --image FILE",
        f"resseg's own code, real weights, real image; {int((theirs > 0).sum())} voxels are cavity",
    )


if __name__ == "__main__":
    run(
        compare,
        __doc__,
        source={"type": Path, "required": True, "help": "resseg's folder src"},
        weights={"type": Path, "required": True, "help": "the folder with its weights"},
        image={"type": Path, "required": True},
        crop={"type": int, "nargs": 6, "help": "first and size (x, y, z) of the part to use, multiples of 8"},
    )
