"""The coarse and the fine network of ``gliomaseg-any``, whose weights come with GliomaSeg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.inference.coarse_fine import CoarseFine, Stage
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.training_features import read_training_features
from GliomaSegLib.zoo.card_weights import ShippedFile
from GliomaSegLib.zoo.checkpoint import below, fill, read_converted

CHANNEL_ORDER = tuple(Modality)
_STAGES = ("coarse", "fine")


def write_weights(stages: Mapping[str, Mapping[str, Tensor]], destination: Path) -> None:
    """Write the stages' state dicts into one safetensors file, as float16; counters stay whole numbers."""
    tensors = {
        f"{stage}.{name}": (value.half() if value.is_floating_point() else value).contiguous()
        for stage, state in stages.items()
        for name, value in state.items()
    }
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The stages, ready to run.

    Args:
        parameters: ``coarse`` and perhaps ``fine``, each with ``network`` (name and parameters, see
            :mod:`GliomaSegLib.networks`), ``spacing_mm``, ``shape`` and ``mirrored``; the further parameters of
            :class:`~GliomaSegLib.inference.coarse_fine.CoarseFine`; and the card's ``training_features``, if any.
    """
    tensors, _ = read_converted(weights, parameters)
    stages = {name: _stage(name, parameters[name], tensors, weights) for name in _STAGES if name in parameters}
    features: ShippedFile | None = parameters.get("training_features")
    return CoarseFine(
        CHANNEL_ORDER,
        stages["coarse"],
        stages.get("fine"),
        parameters["spacing_mm"],
        parameters["margin_mm"],
        tuple(parameters["fine_weights"]),
        tuple(parameters["fine_weights_without_flair"]),
        tuple(parameters["fine_weights_without_t2_and_flair"]),
        parameters["least_enhancing_ml"],
        parameters["least_tumour_ml"],
        device,
        precision,
        read_training_features(features.sound()) if features else None,
    )


def _stage(name: str, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], weights: Path) -> Stage:
    network = networks.build(parameters["network"]["name"], parameters["network"].get("parameters", {}))
    own = {key: value.float() for key, value in below(name, tensors).items()}
    fill(network, own, weights, f"the {name} network of this model", "install the model again")
    network = networks.channels_last(network.eval().requires_grad_(False))
    return Stage(network, parameters["spacing_mm"], tuple(parameters["shape"]), parameters["mirrored"])
