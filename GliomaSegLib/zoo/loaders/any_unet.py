"""The coarse and the fine network of ``gliomaseg-any``, whose weights come with GliomaSeg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from GliomaSegLib import networks
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.coarse_fine import CoarseFine, Stage
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.training_features import TrainingFeatures, read_training_features
from GliomaSegLib.zoo.card_weights import ShippedFile

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
        weights: the file that :func:`write_weights` wrote.
        parameters: ``coarse`` and perhaps ``fine``, each with ``network`` (name and parameters, see
            :mod:`GliomaSegLib.networks`), ``spacing_mm``, ``shape`` and ``mirrored``; the further parameters of
            :class:`~GliomaSegLib.inference.coarse_fine.CoarseFine`; and the card's ``training_features``, if there
            are any.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions.

    Raises:
        WeightsError: a file is missing, damaged or of another model.
    """
    try:
        tensors = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The weights {weights} cannot be read ({error}); install GliomaSeg again.") from error
    stages = {name: _stage(name, parameters[name], tensors, weights) for name in _STAGES if name in parameters}
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
        _training_features(parameters.get("training_features")),
    )


def _training_features(file: ShippedFile | None) -> TrainingFeatures | None:
    return None if file is None else read_training_features(file.sound())


def _stage(name: str, parameters: Mapping[str, Any], tensors: Mapping[str, Tensor], weights: Path) -> Stage:
    network = networks.build(parameters["network"]["name"], parameters["network"].get("parameters", {}))
    prefix = f"{name}."
    own = {key.removeprefix(prefix): value.float() for key, value in tensors.items() if key.startswith(prefix)}
    try:
        network.load_state_dict(own)
    except RuntimeError as error:
        raise WeightsError(f"{weights} does not hold the {name} network of this model; install it again.") from error
    network = networks.channels_last(network.eval().requires_grad_(False))
    return Stage(network, parameters["spacing_mm"], tuple(parameters["shape"]), parameters["mirrored"])
