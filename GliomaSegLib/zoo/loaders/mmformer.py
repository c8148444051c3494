"""mmFormer with the weights that its authors publish (github.com/YaoZhang93/mmFormer), for any subset of the sequences.

The published file is what their training writes: the tensors below ``state_dict``, and the optimiser's state. What is
done around the network (:mod:`GliomaSegLib.networks.mmformer`) is in :mod:`GliomaSegLib.zoo.loaders.any_subset`; its
windows are of 128 voxels a side, for which alone its tokens have places, so they are not made smaller when memory is
short.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.networks.mmformer import MmFormer
from GliomaSegLib.zoo.checkpoint import fill, read_converted
from GliomaSegLib.zoo.loaders.any_subset import SubsetSegmenter, convert_published

_ENCODERS = {"flair": 0, "t1ce": 1, "t1": 2, "t2": 3}
_ORDER = {"2": "second", "3": "third"}
_JOINS = {"c2": 0, "out": 1}
_TRANSFORMER = {
    "cross_attention_list.0.fn.norm.": "norm_attention.",
    "cross_attention_list.0.fn.fn.qkv.": "queries_keys_values.",
    "cross_attention_list.0.fn.fn.proj.": "projection.",
    "cross_ffn_list.0.fn.norm.": "norm_perceptron.",
    "cross_ffn_list.0.fn.fn.net.0.": "perceptron.0.",
    "cross_ffn_list.0.fn.fn.net.3.": "perceptron.2.",
}

# Published names; the numbers of levels are counted from 1, here from 0.
_STEM = re.compile(r"(flair|t1ce|t1|t2)_encoder\.e1_c1\.(.+)")
_FIRST = re.compile(r"(flair|t1ce|t1|t2)_encoder\.e(\d)_c1\.(conv\..+)")
_OTHERS = re.compile(r"(flair|t1ce|t1|t2)_encoder\.e(\d)_c([23])\.(conv\..+)")
_TOKENS = re.compile(r"(flair|t1ce|t1|t2)_encode_conv\.(.+)")
_PLACES = re.compile(r"(flair|t1ce|t1|t2)_pos")
_ATTENTION = re.compile(r"(flair|t1ce|t1|t2|multimodal)_transformer\.(.+)")
_LIFT = re.compile(r"decoder_fuse\.d(\d)_c1\.(conv\..+)")
_JOIN = re.compile(r"decoder_fuse\.d(\d)_(c2|out)\.(conv\..+)")
_FUSION = re.compile(r"decoder_fuse\.RFM(\d)\.fusion_layer\.(.+)")
_TRAINING = re.compile(r"decoder_sep\..+|decoder_fuse\.seg_d\d\..+|(flair|t1ce|t1|t2)_decode_conv\..+")


def convert(source: Path, destination: Path) -> None:
    """Write the one PyTorch file in the folder ``source`` into the safetensors file ``destination``.

    Raises:
        WeightsError: there is no such file, it is damaged, holds more than tensors, or is of another network.
    """
    small = MmFormer(width=1, places=1, token=8, hidden=8)
    convert_published(source, destination, small, own_name, "mmFormer")


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on any subset of the sequences.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; of its own ``least_enhancing_voxels`` and perhaps ``arguments`` of
            :class:`~GliomaSegLib.networks.mmformer.MmFormer`.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    network = MmFormer(**parameters.get("arguments", {}))
    fill(network, read_converted(weights)[0], weights, "mmFormer")
    return SubsetSegmenter(network, parameters, device, precision, one_size=True)


def own_name(published: str) -> str | None:
    """The name here of a published parameter; ``None`` for what serves training alone.

    Raises:
        KeyError: mmFormer has no such parameter.
    """
    if _TRAINING.fullmatch(published):
        return None
    if match := _STEM.fullmatch(published):
        return f"encoders.{_ENCODERS[match[1]]}.stem.{match[2]}"
    if match := _FIRST.fullmatch(published):
        return f"encoders.{_ENCODERS[match[1]]}.first.{int(match[2]) - 2}.{match[3]}"
    if match := _OTHERS.fullmatch(published):
        return f"encoders.{_ENCODERS[match[1]]}.{_ORDER[match[3]]}.{int(match[2]) - 1}.{match[4]}"
    if match := _TOKENS.fullmatch(published):
        return f"encoders.{_ENCODERS[match[1]]}.to_tokens.{match[2]}"
    if match := _PLACES.fullmatch(published):
        return f"encoders.{_ENCODERS[match[1]]}.places"
    if match := _ATTENTION.fullmatch(published):
        where = "together" if match[1] == "multimodal" else f"encoders.{_ENCODERS[match[1]]}.transformer"
        return f"{where}.{_in_transformer(match[2])}"
    if match := _LIFT.fullmatch(published):
        return f"lifts.{int(match[1]) - 1}.{match[2]}"
    if match := _JOIN.fullmatch(published):
        return f"joins.{int(match[1]) - 1}.{_JOINS[match[2]]}.{match[3]}"
    if match := _FUSION.fullmatch(published):
        return f"fusions.{int(match[1]) - 1}.{match[2]}"
    for prefix, own in (("decoder_fuse.seg_layer.", "answer."), ("multimodal_decode_conv.", "from_tokens.")):
        if published.startswith(prefix):
            return own + published.removeprefix(prefix)
    raise KeyError(published)


def _in_transformer(name: str) -> str:
    for prefix, own in _TRANSFORMER.items():
        if name.startswith(prefix):
            return own + name.removeprefix(prefix)
    raise KeyError(name)
