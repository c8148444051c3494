"""The resection cavity on a T1 after surgery, with the weights of github.com/fepegar/resseg.

The published file is a state dict of the package ``unet``, which names every tensor twice. The steps before and after
the network (:mod:`GliomaSegLib.networks.resseg_unet`) are in the card, except for cropping to multiples of 8 voxels.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.networks.resseg_unet import RessegUNet
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.zoo.checkpoint import fill, published_tensors, read_converted
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of

# The names of the package ``unet`` -> those here.
_BLOCKS = {
    "encoder.encoding_blocks.0": "encoder_1",
    "encoder.encoding_blocks.1": "encoder_2",
    "bottom_block": "bottom",
    "decoder.decoding_blocks.0": "decoder_1",
    "decoder.decoding_blocks.1": "decoder_2",
}
_LAYERS = {"conv1": "first", "conv2": "second"}
_PARTS = {"conv_layer": "conv", "norm_layer": "norm", "activation_layer": "slope"}
_NAME = re.compile(r"(?P<block>.+)\.(?P<layer>conv[12])\.(?P<part>\w+_layer)\.(?P<tensor>\w+)")
_SECOND_NAME = re.compile(r"\.block\.\d+\.")


def convert(source: Path, destination: Path) -> None:
    """The tensors of the one PyTorch file in the folder ``source``, under the names here."""
    state, published = published_tensors(source, "*.pth")
    tensors = {_own_name(name, published): value for name, value in state.items() if not _SECOND_NAME.search(name)}
    fill(RessegUNet(), tensors, published)
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on the first sequence of the card's ``sets`` (of one each) that a case has."""
    network = fill(RessegUNet(), read_converted(weights, parameters)[0], weights)
    segmenters = {}
    for order in parameters["sets"]:
        spec = spec_of({**parameters, "sequences": order})
        prepare = partial(_cropped, prepare=spec.prepare, multiple=parameters["inference"].multiple_of)
        spec = dataclasses.replace(spec, prepare=prepare)
        segmenters[order] = VolumeSegmenter([network], spec, device, precision_of(parameters, precision))
    return ModalitySetSegmenter(segmenters)


def _cropped(stack: Array, prepare: Callable[[Array], tuple[Array, Box]], multiple: int) -> tuple[Array, Box]:
    """The prepared channels cropped on both sides, so that the edges are multiples of ``multiple``."""
    channels, _ = prepare(stack)
    box = []
    for voxels in stack.shape[1:]:
        excess = voxels % multiple
        if excess == voxels:
            raise InputError(
                f"The image is only {voxels} voxels wide at the network's spacing and {multiple} are the least; give "
                "the whole head."
            )
        first = -(-excess // 2)
        box.append(slice(first, first + voxels - excess))
    where = (box[0], box[1], box[2])
    return channels[(slice(None), *where)], where


def _own_name(name: str, source: Path) -> str:
    if name.startswith("classifier.conv_layer."):
        return name.replace(".conv_layer", "")
    match = _NAME.fullmatch(name)
    if match is None or match["block"] not in _BLOCKS or match["part"] not in _PARTS:
        raise WeightsError(f"{source} holds '{name}', which resseg's network lacks; get the file again.")
    return f"{_BLOCKS[match['block']]}.{_LAYERS[match['layer']]}.{_PARTS[match['part']]}.{match['tensor']}"
