"""The coarse and the fine network of ``gliomaseg-any``, with the shipped weights or fine-tuned ones."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.inference.coarse_fine import CoarseFine, Stage, Stages
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.training_distance import read_training_features
from GliomaSegLib.networks.memory_format import channels_last
from GliomaSegLib.zoo.card_weights import ShippedFile
from GliomaSegLib.zoo.checkpoint import copy_exported, fill, read_stages

CHANNEL_ORDER = tuple(Modality)
STAGES = ("coarse", "fine")
WITHOUT_FLAIR = {stage: f"{stage}_without_flair" for stage in STAGES}
ALL_STAGES = (*STAGES, *WITHOUT_FLAIR.values())


def write_weights(stages: Mapping[str, Mapping[str, Tensor]], destination: Path) -> None:
    """Write the stages' state dicts into one safetensors file, as float16; integers, and tensors with values beyond its
    range, keep their type."""
    tensors = {
        f"{stage}.{name}": _halved(value).contiguous()
        for stage, state in stages.items()
        for name, value in state.items()
    }
    save_file(tensors, destination)


def _halved(value: Tensor) -> Tensor:
    half = value.half()
    return half if value.is_floating_point() and half.isfinite().all() else value


def convert(source: Path, destination: Path) -> None:
    """Copy the one safetensors file in the folder ``source``; see :func:`GliomaSegLib.zoo.checkpoint.copy_exported`."""
    copy_exported(source, destination, ALL_STAGES)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The stages, ready to run.

    Args:
        parameters: ``coarse`` and perhaps ``fine``, each with ``network`` (name and parameters, see
            :mod:`GliomaSegLib.networks`), ``spacing_mm``, ``shape`` and ``mirrored``; perhaps the same under
            ``coarse_without_flair`` and ``fine_without_flair``; the further parameters of
            :class:`~GliomaSegLib.inference.coarse_fine.CoarseFine`; and the card's ``training_features``, if any.
    """
    features: ShippedFile | None = parameters.get("training_features")
    states = read_stages(weights, [name for name in ALL_STAGES if name in parameters], parameters)
    stages = {name: _stage(name, parameters[name], state, weights) for name, state in states.items()}
    coarse, fine = stages["coarse"], stages.get("fine")
    return CoarseFine(
        CHANNEL_ORDER,
        Stages(coarse, fine),
        Stages(stages.get(WITHOUT_FLAIR["coarse"], coarse), stages.get(WITHOUT_FLAIR["fine"], fine)),
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


def _stage(name: str, parameters: Mapping[str, Any], state: Mapping[str, Tensor], weights: Path) -> Stage:
    network = networks.build(parameters["network"]["name"], parameters["network"].get("parameters", {}))
    fill(network, state, weights, f"the {name} network of this model", "install the model again")
    network = channels_last(network.eval().requires_grad_(False))
    return Stage(network, parameters["spacing_mm"], tuple(parameters["shape"]), parameters["mirrored"])
