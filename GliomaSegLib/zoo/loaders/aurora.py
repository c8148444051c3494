"""AURORA: brain metastases, with a network for each of seven sets of sequences (BrainLesion, Buchner et al. 2023).

The published archive holds three checkpoints per set, ``SET_best.tar``, ``_last`` and ``_vanilla`` (PyTorch files, the
tensors below ``model_state``); its own package takes the best by default, and so is done here. The package's test-time
augmentation (noise and mirror images, on by default) is random; the card says which mirror images are averaged here.
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
from GliomaSegLib.zoo.checkpoint import fill, read_checkpoint, read_converted, state_dict, the_only
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
    """Write the seven checkpoints below ``source`` into one safetensors file ``destination``.

    Raises:
        WeightsError: one is missing or damaged, or holds more than tensors and plain values.
    """
    tensors: dict[str, Tensor] = {}
    for name in SETS:
        published = the_only(source, f"{name}_{_CHECKPOINT}.tar")
        own = state_dict(read_checkpoint(published), published, "model_state")
        tensors |= {f"{name}.{parameter}": value for parameter, value in own.items()}
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The seven networks, ready to run.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; ``sets`` are the sets to choose from, best first, and ``arguments`` what the
            networks are made with.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    tensors, _ = read_converted(weights)
    precision = precision_of(parameters, precision)
    segmenters = {}
    for name, order in SETS.items():
        network = BasicUNet(in_channels=len(order), **parameters["arguments"])
        fill(network, _below(name, tensors), weights)
        spec = spec_of({**parameters, "sequences": order})
        windows = dataclasses.replace(spec.windows, padding="replicate")
        spec = dataclasses.replace(spec, windows=windows)
        segmenters[order] = VolumeSegmenter([network], spec, device, precision)
    return ModalitySetSegmenter({order: segmenters[order] for order in parameters["sets"]})


def _below(name: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")}
