"""mmFormer with the weights that its authors publish (github.com/YaoZhang93/mmFormer), for any subset of the sequences.

The published file is a training checkpoint: the tensors below ``state_dict``, and the optimiser's state. The steps
before and after the network (:mod:`GliomaSegLib.networks.mmformer`) are in
:mod:`GliomaSegLib.zoo.loaders.any_subset`. Its windows have 128 voxels a side, the only size for which it has
positional embeddings, so they are not made smaller when memory is short.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.networks.mmformer import MmFormer
from GliomaSegLib.zoo.checkpoint import fill, read_converted
from GliomaSegLib.zoo.loaders.any_subset import DECODER, ENCODERS, Rules, SubsetSegmenter, convert_published, renamed

_LAYERS = {"2": "second", "3": "third"}
_IN_TRANSFORMER: Rules = (
    (r"cross_attention_list\.0\.fn\.norm\.(.+)", "norm_attention.{}".format),
    (r"cross_attention_list\.0\.fn\.fn\.qkv\.(.+)", "queries_keys_values.{}".format),
    (r"cross_attention_list\.0\.fn\.fn\.proj\.(.+)", "projection.{}".format),
    (r"cross_ffn_list\.0\.fn\.norm\.(.+)", "norm_perceptron.{}".format),
    (r"cross_ffn_list\.0\.fn\.fn\.net\.0\.(.+)", "perceptron.0.{}".format),
    (r"cross_ffn_list\.0\.fn\.fn\.net\.3\.(.+)", "perceptron.2.{}".format),
)
_OF = "(flair|t1ce|t1|t2)"
_NAMES: Rules = (
    *DECODER,
    (r"(?:decoder_fuse\.seg_d\d\.|(?:flair|t1ce|t1|t2)_decode_conv\.).+", lambda: None),
    (rf"{_OF}_encoder\.e1_c1\.(.+)", lambda of, rest: f"encoders.{ENCODERS[of]}.stem.{rest}"),
    (
        rf"{_OF}_encoder\.e(\d)_c1\.(conv\..+)",
        lambda of, level, rest: f"encoders.{ENCODERS[of]}.first.{int(level) - 2}.{rest}",
    ),
    (
        rf"{_OF}_encoder\.e(\d)_c([23])\.(conv\..+)",
        lambda of, level, layer, rest: f"encoders.{ENCODERS[of]}.{_LAYERS[layer]}.{int(level) - 1}.{rest}",
    ),
    (rf"{_OF}_encode_conv\.(.+)", lambda of, rest: f"encoders.{ENCODERS[of]}.to_tokens.{rest}"),
    (rf"{_OF}_pos", lambda of: f"encoders.{ENCODERS[of]}.places"),
    (
        rf"{_OF}_transformer\.(.+)",
        lambda of, rest: f"encoders.{ENCODERS[of]}.transformer.{renamed(rest, _IN_TRANSFORMER)}",
    ),
    (r"multimodal_transformer\.(.+)", lambda rest: f"together.{renamed(rest, _IN_TRANSFORMER)}"),
    (r"decoder_fuse\.RFM(\d)\.fusion_layer\.(.+)", lambda level, rest: f"fusions.{int(level) - 1}.{rest}"),
    (r"multimodal_decode_conv\.(.+)", "from_tokens.{}".format),
)


def convert(source: Path, destination: Path) -> None:
    """The tensors of the one PyTorch file in the folder ``source``, under the names here."""
    small = MmFormer(width=1, places=1, token=8, hidden=8)
    convert_published(source, destination, small, own_name, "mmFormer")


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run on any subset of the sequences; of the card's parameters ``arguments`` are those of
    :class:`~GliomaSegLib.networks.mmformer.MmFormer`."""
    network = MmFormer(**parameters.get("arguments", {}))
    fill(network, read_converted(weights, parameters)[0], weights, "mmFormer")
    return SubsetSegmenter(network, parameters, device, precision, one_size=True)


def own_name(published: str) -> str | None:
    """See :func:`.any_subset.renamed`."""
    return renamed(published, _NAMES)
