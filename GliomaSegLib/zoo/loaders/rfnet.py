"""RFNet with the weights that its authors publish (github.com/dyh127/RFNet), for any subset of the sequences.

The published file is a training checkpoint: the tensors below ``state_dict``, and the optimiser's state. The steps
before and after the network (:mod:`GliomaSegLib.networks.rfnet`) are in :mod:`~GliomaSegLib.zoo.loaders.any_subset`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.networks.rfnet import RFNet
from GliomaSegLib.zoo.checkpoint import fill, read_converted
from GliomaSegLib.zoo.loaders.any_subset import DECODER, ENCODERS, Rules, SubsetSegmenter, convert_published, renamed

_LAYERS = {"1": "first", "2": "second", "3": "third"}

_OF_FUSIONS: Rules = (
    (r"embedding_layer\.(.+)", "embedding.{}".format),
    (r"prm_layer\.0\.(.+)", "joined.{}".format),
    (r"prm_layer\.1\.(.+)", "answer.{}".format),
    (r"modal_fusion\.(\d)\.weight_layer\.(.+)", "weights.{}.{}".format),
    (r"region_fusion\.fusion_layer\.(.+)", "regions.{}".format),
    (r"short_cut\.(.+)", "shortcut.{}".format),
)
_NAMES: Rules = (
    *DECODER,
    (
        r"(flair|t1ce|t1|t2)_encoder\.e(\d)_c(\d)\.(conv\..+)",
        lambda encoder, level, layer, rest: f"encoders.{ENCODERS[encoder]}.{_LAYERS[layer]}.{int(level) - 1}.{rest}",
    ),
    (
        r"decoder_fuse\.prm_generator(\d)\.(.+)",
        lambda level, rest: f"maps.{int(level) - 1}.{renamed(rest, _OF_FUSIONS)}",
    ),
    (r"decoder_fuse\.RFM(\d)\.(.+)", lambda level, rest: f"fusions.{int(level) - 1}.{renamed(rest, _OF_FUSIONS)}"),
)


def convert(source: Path, destination: Path) -> None:
    """The tensors of the one PyTorch file in the folder ``source``, under the names here."""
    convert_published(source, destination, RFNet(width=4), own_name, "RFNet")


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on any subset of the sequences; the card's ``width`` goes to the network."""
    network = RFNet(parameters.get("width", 16))
    tensors, _ = read_converted(weights, parameters)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    # The small networks of the fusions are published as convolutions of one voxel.
    flat = {
        name: value.flatten(1) if value.ndim == 5 and len(shapes.get(name, ())) == 2 else value
        for name, value in tensors.items()
    }
    return SubsetSegmenter(fill(network, flat, weights, "RFNet"), parameters, device, precision)


def own_name(published: str) -> str | None:
    """See :func:`.any_subset.renamed`."""
    return renamed(published, _NAMES)
