"""GliomaSeg's networks on the brain's box resampled to fixed dimensions: ``gliomaseg-mets``.

The training scans had lost their geometry and had these dimensions; see :mod:`GliomaSegLib.inference.stretched`.
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

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.inference.outputs import Answer, Array
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.stretched import Stretched
from GliomaSegLib.inference.volume import VolumeSegmenter, whole_box
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import components
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.preprocessing.normalisation import standardise
from GliomaSegLib.zoo.checkpoint import below, fill, read_converted
from GliomaSegLib.zoo.inference_spec import answer_of, precision_of, scaled, spec_of

STAGE = "lesions"
"""What the names of the tensors in the weight file begin with."""


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run.

    Args:
        parameters: of the card; ``network`` (name and parameters, see :mod:`GliomaSegLib.networks`),
            ``brain_voxels`` (x, y, z) and ``certainty``: a lesion is struck out whose highest probability is below.
    """
    tensors, _ = read_converted(weights, parameters)
    own = {name: value.float() for name, value in below(STAGE, tensors).items()}
    network = networks.build(parameters["network"]["name"], parameters["network"]["parameters"])
    fill(network, own, weights)
    order: tuple[Modality, ...] = parameters["sequences"]

    def prepare(stack: Array) -> tuple[Array, Box]:
        box = whole_box(stack)
        return scaled(stack, order, standardise, box), box

    spec = dataclasses.replace(spec_of(parameters), prepare=prepare)
    inner = VolumeSegmenter([network], spec, device, precision_of(parameters, precision))
    x, y, z = parameters["brain_voxels"]
    answer = certain_lesions(answer_of(parameters["output"]), parameters["certainty"])
    return Stretched(inner, order, (z, y, x), answer)


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
