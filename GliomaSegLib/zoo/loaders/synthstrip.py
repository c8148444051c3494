"""SynthStrip: the brain in a head image of any contrast, by its distance from the brain's surface.

The published file is ``synthstrip.1.pt``, the tensors below ``model_state_dict``. Pre- and postprocessing are those of
FreeSurfer's own program (crop to the nonzero voxels, sides of 192 to 320 voxels, grey values scaled from the minimum to
the 99th percentile, largest component, holes filled), but on a grid of 1 mm to which the pipeline has resampled
linearly; that program uses nearest-neighbour interpolation, and resamples the distances back, not the mask.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from scipy import ndimage

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter, stacked, whole_box
from GliomaSegLib.inference.windows import Windows
from GliomaSegLib.labels import Region
from GliomaSegLib.networks.synthstrip_unet import SynthStripUNet
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card_network import Output
from GliomaSegLib.zoo.checkpoint import fill, published_tensors, read_converted
from GliomaSegLib.zoo.inference_spec import largest_component, precision_of

_STEP, _LEAST, _MOST = 64, 192, 320  # voxels of a side
_BRIGHTEST = 99  # percent

# The network's axes run left, inferior, anterior; the card's grid is LPS, its arrays are [z, y, x].
_AXES = (2, 0, 1)
_AGAINST = (1, 2)


def convert(source: Path, destination: Path) -> None:
    """The tensors of the PyTorch file below ``source``."""
    tensors, published = published_tensors(source, "*.pt", "model_state_dict")
    fill(SynthStripUNet(), tensors, published)
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on any one of the card's sequences; ``output.threshold`` of the card is the distance in
    mm below which a voxel is brain."""
    tensors, _ = read_converted(weights, parameters)
    network = fill(SynthStripUNet(), tensors, weights)
    output: Output = parameters["output"]
    precision = precision_of(parameters, precision)
    return ModalitySetSegmenter(
        {one: _SynthStrip(network, one, output.threshold, device, precision) for one in parameters["sets"]}
    )


class _SynthStrip:
    """See :class:`GliomaSegLib.inference.segmenter.Segmenter`; label 1 is the brain."""

    def __init__(
        self,
        network: torch.nn.Module,
        order: tuple[Modality, ...],
        distance_mm: float,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self._network, self._order, self._distance_mm = network, order, distance_mm
        self._device, self._precision = device, precision

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Find the brain. Nothing here is random.

        Raises:
            InputError: no image, an empty or constant one, or too little memory.
        """
        image = stacked(images, self._order)[0]
        turned = np.flip(image.transpose(_AXES), _AGAINST)
        box = bounding_box(turned != 0)
        shown, inside, taken = _fitted(turned[box])
        spec = InferenceSpec(
            order=self._order,
            prepare=lambda stack: (stack, whole_box(stack)),
            windows=Windows(size=shown.shape, overlap=0),
            activate=lambda distances: distances,
            answer=self._near,
        )
        segmenter = VolumeSegmenter([self._network], spec, self._device, self._precision)
        found = segmenter.predict({self._order[0]: _scaled(shown)}, progress, seed)
        brain = np.zeros(turned.shape, np.uint8)
        brain[box][taken] = found.labels[inside]
        brain = ndimage.binary_fill_holes(largest_component(brain)).astype(np.uint8)
        back = np.flip(brain, _AGAINST).transpose(np.argsort(_AXES))
        return dataclasses.replace(found, labels=np.ascontiguousarray(back), probabilities={})

    def _near(self, distances: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        return (distances[0] < self._distance_mm).astype(np.uint8), {}


def _fitted(image: Array) -> tuple[Array, tuple[slice, ...], tuple[slice, ...]]:
    """The image in the middle of a box of a size that the network accepts; its place in the box; the part that fits."""
    sides = [int(np.clip(-(-own // _STEP) * _STEP, _LEAST, _MOST)) for own in image.shape]
    box = np.zeros(sides, np.float32)
    inside, taken = [], []
    for own, side in zip(image.shape, sides, strict=True):
        first, skipped = max(side - own, 0) // 2, max(own - side, 0) // 2
        used = min(own, side)
        inside.append(slice(first, first + used))
        taken.append(slice(skipped, skipped + used))
    box[tuple(inside)] = image[tuple(taken)]
    return box, tuple(inside), tuple(taken)


def _scaled(image: Array) -> Array:
    """Grey values from 0 to 1; the brightest hundredth is cut off."""
    above = image - image.min()
    brightest = np.percentile(above, _BRIGHTEST)
    if brightest == 0:
        raise InputError("The image shows too little to find a brain in it; check the file.")
    return np.clip(above / brightest, 0, 1).astype(np.float32)
