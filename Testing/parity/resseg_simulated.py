"""resseg's real weights on a real T1 with a made cavity: how well is it found?

The image's field of view is widened with zeros, since a head that fills it has another histogram than those that
resseg was trained on. The network, whose normalisation is fixed, is only run around the cavity.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from numpy.typing import NDArray
from scipy import ndimage

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.windows import WHOLE_FIELD, Windows, slide
from GliomaSegLib.networks.resseg_unet import RessegUNet
from GliomaSegLib.preprocessing.resampling import model_grid, resample_image
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.checkpoint import fill, read_converted
from GliomaSegLib.zoo.inference_spec import largest_component, spec_of
from GliomaSegLib.zoo.loaders import resseg

RADII_MM = (17, 20, 15)  # z, y, x
FROM_MIDDLE_MM = (25, 25, 32)  # up, forward, to the side
MARGIN = ((20, 28), (20, 20), (25, 25))
FIELD = (104, 120, 112)


def main() -> None:
    """Make the cavity, find it, print the Dice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, required=True, help="the folder with resseg's weights")
    parser.add_argument("--image", type=Path, required=True, help="a T1 of a whole head")
    parser.add_argument(
        "--side", type=int, choices=(-1, 1), default=1, help="1 for the patient's left, -1 for the right"
    )
    given = parser.parse_args()
    card = find_card("resseg-cavity")
    image = sitk.ReadImage(str(given.image), sitk.sitkFloat32)
    image = resample_image(image, model_grid(image, card.space.spacing_mm, card.space.orientation))
    head = np.pad(sitk.GetArrayFromImage(image), MARGIN)
    operated, cavity = with_cavity(head, -given.side)  # x runs to the right
    spec = spec_of({**card.loader_parameters, "sequences": (Modality.T1N,)})
    channels, _ = spec.prepare(operated[None])
    here = around(cavity)
    with tempfile.TemporaryDirectory() as name:
        resseg.convert(given.weights, Path(name) / "weights.safetensors")
        tensors, _ = read_converted(Path(name) / "weights.safetensors")
    network = fill(RessegUNet(), tensors, given.weights).eval()
    shown = torch.from_numpy(np.ascontiguousarray(channels[(slice(None), *here)].transpose(0, 3, 2, 1)))
    windows = Windows(WHOLE_FIELD, overlap=0.5, trims_to=8).fitted(shown.shape[1:])
    with torch.inference_mode():
        logits = slide(lambda window: network(window[None])[0], shown, windows, lambda done: None)
    labels, _ = spec.answer(torch.softmax(logits, 0).numpy().transpose(0, 3, 2, 1))
    found = largest_component(labels) > 0
    dice = 2 * (found & cavity[here]).sum() / (found.sum() + cavity.sum())
    print(f"cavity {cavity.sum() / 1000:.1f} mL, found {found.sum() / 1000:.1f} mL, Dice {dice:.3f}")


def with_cavity(head: NDArray[np.float32], side: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A head ``[z, y, x]`` with an ellipsoid with a wavy edge at the convexity, as dark as fluid, and its mask."""
    bright = np.percentile(head, 99)
    middle = np.argwhere(head > 0.2 * bright).mean(axis=0)
    centre = middle + np.multiply(FROM_MIDDLE_MM, (1, 1, side))
    places = np.indices(head.shape, dtype=np.float32)
    radii = np.array(RADII_MM, np.float32)[:, None, None, None]
    distance = np.sqrt((((places - centre[:, None, None, None]) / radii) ** 2).sum(axis=0))
    wave = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=head.shape).astype(np.float32), 5)
    cavity = distance + wave * (0.15 / wave.std()) < 1
    soft = ndimage.gaussian_filter(cavity.astype(np.float32), 1)
    tissue = np.median(head[(distance < 1.5) & (head > 0.2 * bright)])
    fluid = np.random.default_rng(1).normal(0.35 * tissue, 0.02 * tissue, head.shape)
    return (head * (1 - soft) + soft * fluid).astype(np.float32), cavity


def around(mask: NDArray[np.bool_]) -> tuple[slice, slice, slice]:
    """A box of ``FIELD`` voxels with the mask in its middle, inside the image."""
    middle = np.argwhere(mask).mean(axis=0).round().astype(int)
    first = np.clip(middle - np.array(FIELD) // 2, 0, np.array(mask.shape) - FIELD)
    z, y, x = (slice(int(start), int(start) + size) for start, size in zip(first, FIELD, strict=True))
    return z, y, x


if __name__ == "__main__":
    main()
