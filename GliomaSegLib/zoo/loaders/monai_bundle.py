"""Networks of MONAI from a state dict, as in the bundle ``brats_mri_segmentation`` (SegResNet).

The published file (``model.pt``) holds the network's tensors, alone or below ``model``. Normalisation, inference and
output are those of the card.
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
from GliomaSegLib.zoo.checkpoint import fill, read_checkpoint, read_converted, state_dict, the_only
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of


def convert(source: Path, destination: Path) -> None:
    """Write the one PyTorch file in the folder ``source`` into the safetensors file ``destination``.

    Raises:
        WeightsError: there is no such file, it is damaged or holds more than tensors.
    """
    published = the_only(source, "*.pt")
    save_file(state_dict(read_checkpoint(published), published, "model", "state_dict"), destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; of its own ``network``, a class of :mod:`monai.networks.nets`, and
            ``arguments``, what it is made with.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    network = getattr(nets, parameters["network"])(**parameters["arguments"])
    fill(network, read_converted(weights)[0], weights)
    return VolumeSegmenter([network], spec_of(parameters), device, precision_of(parameters, precision))
