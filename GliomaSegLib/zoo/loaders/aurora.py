"""AURORA: brain metastases, with a network for each of seven sets of sequences (BrainLesion, Buchner et al. 2023).

The published archive holds three checkpoints per set, ``SET_best.tar``, ``_last`` and ``_vanilla`` (PyTorch files, the
tensors below ``model_state``); the original package uses ``_best`` by default, as is done here. Its test-time
augmentation (noise and mirroring, on by default) is random; here the card says which mirrored images are averaged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets import BasicUNet
from safetensors.torch import save_file
from torch import Tensor

from GliomaSegLib.case import Modality
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.zoo.checkpoint import below, fill, published_tensors, read_converted
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of

# The names of the sets in the published files; a set's channels are in this order of sequences too.
SETS: dict[str, tuple[Modality, ...]] = {
    "t1-t1c-t2-fla": (Modality.T1N, Modality.T1C, Modality.T2W, Modality.T2F),
    "t1-t1c-fla": (Modality.T1N, Modality.T1C, Modality.T2F),
    "t1-t1c": (Modality.T1N, Modality.T1C),
    "t1c-fla": (Modality.T1C, Modality.T2F),
    "t1c-o": (Modality.T1C,),
    "fla-o": (Modality.T2F,),
    "t1-o": (Modality.T1N,),
}
_CHECKPOINT = "best"


def convert(source: Path, destination: Path) -> None:
    """The seven checkpoints below ``source`` as one file."""
    tensors: dict[str, Tensor] = {}
    for name in SETS:
        own, _ = published_tensors(source, f"{name}_{_CHECKPOINT}.tar", "model_state")
        tensors |= {f"{name}.{parameter}": value for parameter, value in own.items()}
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The seven networks, ready to run; the card's parameter ``arguments`` has those of their constructor."""
    tensors, _ = read_converted(weights, parameters)
    precision = precision_of(parameters, precision)
    segmenters = {}
    for name, order in SETS.items():
        network = BasicUNet(in_channels=len(order), **parameters["arguments"])
        fill(network, below(name, tensors), weights)
        spec = spec_of({**parameters, "sequences": order})
        windows = dataclasses.replace(spec.windows, padding="replicate")
        spec = dataclasses.replace(spec, windows=windows)
        segmenters[order] = VolumeSegmenter([network], spec, device, precision)
    return ModalitySetSegmenter({order: segmenters[order] for order in parameters["sets"]})
