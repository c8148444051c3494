"""RFNet with the weights that its authors publish (github.com/dyh127/RFNet), for any subset of the sequences.

The published file is what their training writes: the tensors below ``state_dict``, and the optimiser's state. What is
done around the network (:mod:`GliomaSegLib.networks.rfnet`) is in :mod:`GliomaSegLib.zoo.loaders.any_subset`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.networks.rfnet import RFNet
from GliomaSegLib.zoo.checkpoint import fill, read_converted
from GliomaSegLib.zoo.loaders.any_subset import SubsetSegmenter, convert_published

_ENCODERS = {"flair": 0, "t1ce": 1, "t1": 2, "t2": 3}
_ORDER = {"1": "first", "2": "second", "3": "third"}
_JOINS = {"c2": 0, "out": 1}

# Published names and those here, the numbers of levels and layers counted from 0.
_ENCODER = re.compile(r"(flair|t1ce|t1|t2)_encoder\.e(\d)_c(\d)\.(conv\..+)")
_LIFT = re.compile(r"decoder_fuse\.d(\d)_c1\.(conv\..+)")
_JOIN = re.compile(r"decoder_fuse\.d(\d)_(c2|out)\.(conv\..+)")
_MAP = re.compile(r"decoder_fuse\.prm_generator(\d)\.(.+)")
_FUSION = re.compile(r"decoder_fuse\.RFM(\d)\.(.+)")
_BELOW = (
    (re.compile(r"embedding_layer\.(.+)"), r"embedding.\1"),
    (re.compile(r"prm_layer\.0\.(.+)"), r"joined.\1"),
    (re.compile(r"prm_layer\.1\.(.+)"), r"answer.\1"),
    (re.compile(r"modal_fusion\.(\d)\.weight_layer\.(.+)"), r"weights.\1.\2"),
    (re.compile(r"region_fusion\.fusion_layer\.(.+)"), r"regions.\1"),
    (re.compile(r"short_cut\.(.+)"), r"shortcut.\1"),
)


def convert(source: Path, destination: Path) -> None:
    """Write the one PyTorch file in the folder ``source`` into the safetensors file ``destination``.

    Raises:
        WeightsError: there is no such file, it is damaged, holds more than tensors, or is of another network.
    """
    convert_published(source, destination, RFNet(width=4), own_name, "RFNet")


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on any subset of the sequences.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; of its own ``least_enhancing_voxels`` and perhaps ``width``.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    network = RFNet(parameters.get("width", 16))
    tensors, _ = read_converted(weights)
    shapes = {name: value.shape for name, value in network.state_dict().items()}
    # The small networks of the fusions are published as convolutions of one voxel.
    flat = {
        name: value.flatten(1) if value.ndim == 5 and len(shapes.get(name, ())) == 2 else value
        for name, value in tensors.items()
    }
    return SubsetSegmenter(fill(network, flat, weights, "RFNet"), parameters, device, precision)


def own_name(published: str) -> str | None:
    """The name here of a published parameter; ``None`` for the decoder that serves training alone.

    Raises:
        KeyError: RFNet has no such parameter.
    """
    if published.startswith("decoder_sep."):
        return None
    if match := _ENCODER.fullmatch(published):
        sequence, level, layer, rest = match.groups()
        return f"encoders.{_ENCODERS[sequence]}.{_ORDER[layer]}.{int(level) - 1}.{rest}"
    if match := _LIFT.fullmatch(published):
        return f"lifts.{int(match[1]) - 1}.{match[2]}"
    if match := _JOIN.fullmatch(published):
        return f"joins.{int(match[1]) - 1}.{_JOINS[match[2]]}.{match[3]}"
    if published.startswith("decoder_fuse.seg_layer."):
        return published.replace("decoder_fuse.seg_layer", "answer")
    for pattern, where in ((_MAP, "maps"), (_FUSION, "fusions")):
        if match := pattern.fullmatch(published):
            return f"{where}.{int(match[1]) - 1}.{_below(match[2])}"
    raise KeyError(published)


def _below(name: str) -> str:
    for pattern, own in _BELOW:
        if match := pattern.fullmatch(name):
            return match.expand(own)
    raise KeyError(name)
