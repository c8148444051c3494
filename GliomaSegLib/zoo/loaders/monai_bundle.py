"""Networks of MONAI from a state dict, as in the bundle ``brats_mri_segmentation`` (SegResNet).

The published file (``model.pt``) holds the network's tensors, at its top level or below ``model``. Normalisation,
inference and output are those of the card.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from monai.networks import nets
from safetensors.torch import save_file

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.zoo.checkpoint import fill, published_tensors, read_converted
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of


def convert(source: Path, destination: Path) -> None:
    """The tensors of the one PyTorch file in the folder ``source``."""
    save_file(published_tensors(source, "*.pt", "model", "state_dict")[0], destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run; of the card's parameters ``network`` is a class of :mod:`monai.networks.nets`, and
    ``arguments`` those of its constructor."""
    network = getattr(nets, parameters["network"])(**parameters["arguments"])
    fill(network, read_converted(weights, parameters)[0], weights)
    return VolumeSegmenter([network], spec_of(parameters), device, precision_of(parameters, precision))
