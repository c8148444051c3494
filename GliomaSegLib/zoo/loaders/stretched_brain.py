"""GliomaSeg's networks on the brain's box resampled to fixed dimensions: ``gliomaseg-mets``.

The training scans had lost their geometry and had these dimensions, whatever the brain's size in millimetres.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from GliomaSegLib import networks
from GliomaSegLib.case import Input, Modality
from GliomaSegLib.inference.outputs import Answer, Array
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter, measured_box, stacked, whole_box
from GliomaSegLib.inference.windows import Size
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import components
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.preprocessing.normalisation import clipped_z_score
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.checkpoint import copy_exported, fill, read_stages
from GliomaSegLib.zoo.inference_spec import answer_of, precision_of, scaled, spec_of

STAGE = "lesions"
"""What the names of the tensors in the weight file begin with."""


def convert(source: Path, destination: Path) -> None:
    """Copy the one safetensors file in the folder ``source``; see :func:`GliomaSegLib.zoo.checkpoint.copy_exported`."""
    copy_exported(source, destination, (STAGE,))


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run.

    Args:
        parameters: of the card; ``network`` (name and parameters, see :mod:`GliomaSegLib.networks`),
            ``brain_voxels`` (x, y, z) and ``certainty``: lesions whose highest probability is lower are removed.
    """
    own = read_stages(weights, (STAGE,), parameters)[STAGE]
    network = networks.build(parameters["network"]["name"], parameters["network"]["parameters"])
    fill(network, own, weights)
    order: tuple[Modality, ...] = parameters["sequences"]

    def prepare(stack: Array) -> tuple[Array, Box]:
        box = whole_box(stack)
        return scaled(stack, order, clipped_z_score, box), box

    spec = dataclasses.replace(spec_of(parameters), prepare=prepare)
    inner = VolumeSegmenter([network], spec, device, precision_of(parameters, precision))
    x, y, z = parameters["brain_voxels"]
    answer = certain_lesions(answer_of(parameters["output"]), parameters["certainty"])
    return Stretched(inner, order, (z, y, x), answer)


class Stretched:
    """Wraps a segmenter: the brain's box is resampled to a fixed number of voxels, and the output back to the image.

    Its probabilities are resampled to the image before they become labels. See
    :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        inner: segments the resampled brain; it returns probabilities of regions.
        order: the sequences, in the order of the network's channels.
        brain_voxels: the number of voxels (z, y, x) to which the box of the nonzero voxels is resampled.
        answer: turns probabilities of the regions, on the grid of the images, into labels.
    """

    def __init__(self, inner: Segmenter, order: tuple[Modality, ...], brain_voxels: Size, answer: Answer) -> None:
        self._inner, self._order, self._brain_voxels, self._answer = inner, order, brain_voxels, answer

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case of stripped images."""
        stack = stacked(images, self._order)
        box = measured_box(stack)
        shown: dict[Input, Array] = {
            sequence: stretched_image(image[box], self._brain_voxels)
            for sequence, image in zip(self._order, stack, strict=True)
            if sequence in images
        }
        found = self._inner.predict(shown, progress, seed)
        extent = stack[0][box].shape
        back = np.stack([resize(one, extent, order=1, anti_aliasing=False) for one in found.probabilities.values()])
        labels, maps = self._answer(back.astype(np.float32))
        return Prediction(labels, maps, found.device, found.precision).in_volume(box, stack.shape[1:])


def stretched_image(image: Array, voxels: Size) -> Array:
    """``image [z, y, x]`` resampled to this number of voxels over the same extent: linear interpolation, smoothed
    before downsampling. Where less than half of a voxel was measured, it is exactly 0.
    """
    measured = resize((image != 0).astype(np.float32), voxels, order=1, anti_aliasing=True) > 0.5
    return np.where(measured, resize(image, voxels, order=1, anti_aliasing=True), 0).astype(np.float32)


def certain_lesions(answer: Answer, certainty: float) -> Answer:
    """``answer`` without the lesions (26 neighbours) whose highest probability, in any channel, is below ``certainty``.

    This chooses the operating point on the FROC curve (:mod:`GliomaSegLib.evaluation.froc`) and leaves outlines alone.
    """

    def certain(probabilities: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        labels, maps = answer(probabilities)
        numbered, sizes = components(labels > 0, connectivity=26)
        highest = ndimage.maximum(probabilities.max(axis=0), numbered, np.arange(len(sizes)))
        return np.where(np.asarray(highest)[numbered] >= certainty, labels, np.uint8(0)), maps

    return certain
