"""SegResNetDS as MONAI's Auto3DSeg trained it for BraTS 2023 (github.com/lassoan/SlicerMONAIAuto3DSeg).

The published archive holds ``model.pt``: the network's tensors below ``state_dict`` and, below ``config``, its
architecture, window, normalisation, spacing and orientation. That config can name any Python class;
here only SegResNetDS with plain arguments is accepted, and nothing is imported by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from monai.networks.nets import SegResNetDS
from numpy.typing import NDArray
from safetensors.torch import save_file

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.outputs import regions_per_channel
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import InferenceSpec, VolumeSegmenter, measured_box, whole_box
from GliomaSegLib.inference.windows import Windows, gaussian
from GliomaSegLib.labels import TUMOUR_REGIONS
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.preprocessing.normalisation import z_score
from GliomaSegLib.zoo.checkpoint import (
    CheckpointArray,
    fill,
    read_checkpoint,
    read_converted,
    read_metadata,
    state_dict,
    the_only,
)
from GliomaSegLib.zoo.inference_spec import precision_of, scaled

# Fixed in the published application, and not in the config.
_OVERLAP = 0.625
_MARGIN_VOXELS = 10
_MOST_VALUES = 10_000  # in a config

_ARGUMENTS = {"init_filters", "in_channels", "out_channels", "act", "norm", "blocks_down", "blocks_up", "dsdepth"}
_IGNORED_ARGUMENTS = {"_target_", "spatial_dims", "preprocess", "upsample_mode", "resolution"}
_USED = (
    "network",
    "roi_size",
    "normalize_mode",
    "resample_resolution",
    "sigmoid",
    "orientation_ras",
    "crop_foreground",
)


def convert(source: Path, destination: Path) -> None:
    """The tensors of ``model.pt``, the used part of its config as metadata."""
    published = the_only(source, "model.pt")
    checkpoint = read_checkpoint(published)
    config = checkpoint.get("config") if isinstance(checkpoint, Mapping) else None
    if not isinstance(config, Mapping):
        raise WeightsError(f"{published} is no checkpoint of Auto3DSeg (it has no 'config'); get it again.")
    used = {key: config[key] for key in _USED if key in config}
    try:
        text = json.dumps(_plain(used, iter(range(_MOST_VALUES))))
    except (TypeError, RecursionError) as error:
        raise WeightsError(f"{published} has a config with something else than plain values; get it again.") from error
    _network(json.loads(text), published)
    save_file(state_dict(checkpoint, published, "state_dict"), destination, {"config": text})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run; a config with unknown settings is refused."""
    tensors, metadata = read_converted(weights, parameters)
    config = _config(metadata, weights)
    network = fill(_network(config, weights), tensors, weights)
    order: tuple[Modality, ...] = parameters["sequences"]
    scale = _scaling(config["normalize_mode"], weights)
    if not config.get("sigmoid", False):
        raise WeightsError(f"{weights} answers exclusive classes, not the three regions of BraTS; it is another model.")
    window = tuple(int(voxels) for voxels in config["roi_size"])
    spec = InferenceSpec(
        order=order,
        prepare=partial(_prepared, order=order, scale=scale, crops=config.get("crop_foreground", True)),
        windows=Windows((window[0], window[1], window[2]), _OVERLAP, importance=gaussian),
        activate=torch.sigmoid,
        answer=regions_per_channel(TUMOUR_REGIONS),
        axes=(2, 1, 0),
        flipped=(0, 1) if config.get("orientation_ras", False) else (),  # the card's grid runs LPS
    )
    return VolumeSegmenter([network], spec, device, precision_of(parameters, precision))


def spacing_mm(weights: Path) -> tuple[float, float, float]:
    """The voxels (x, y, z) that the network was trained on; 1 mm where the config does not say."""
    x, y, z = _config(read_metadata(weights), weights).get("resample_resolution") or (1.0, 1.0, 1.0)
    return float(x), float(y), float(z)


def _config(metadata: Mapping[str, str], weights: Path) -> dict[str, Any]:
    try:
        return json.loads(metadata["config"])
    except (KeyError, ValueError) as error:
        raise WeightsError(f"The weights {weights} have lost their config; install the model again.") from error


def _plain(value: Any, left: Iterator[int]) -> Any:
    """A config with JSON types only: numpy's numbers and arrays become Python's own.

    Raises:
        TypeError: it holds something else, or more than an ordinary config (as lists may hold one another many times).
    """
    if next(left, None) is None:
        raise TypeError
    if isinstance(value, Mapping):
        return {str(key): _plain(one, left) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, left) for one in value]
    if isinstance(value, (np.generic, CheckpointArray)):
        return value.tolist()
    if value is None or isinstance(value, (str, int, float)):
        return value
    raise TypeError


def _network(config: Mapping[str, Any], source: Path) -> SegResNetDS:
    """The network that a config describes; an unknown class or argument is refused."""
    described = config.get("network")
    described = described if isinstance(described, Mapping) else {}
    name = str(described.get("_target_", ""))
    if name.rpartition(".")[2] != "SegResNetDS":
        raise WeightsError(f"{source} describes the network '{name}' instead of SegResNetDS; it is another model.")
    special = [key for key in ("preprocess", "resolution") if described.get(key) is not None]
    unknown = sorted(described.keys() - _ARGUMENTS - _IGNORED_ARGUMENTS) + special
    upsampling = described.get("upsample_mode", "deconv")
    if unknown or upsampling != "deconv":
        what = unknown[0] if unknown else f"upsample_mode {upsampling}"
        raise WeightsError(f"{source} asks SegResNetDS for '{what}', which GliomaSeg does not know; it cannot be used.")
    return SegResNetDS(spatial_dims=3, **{key: value for key, value in described.items() if key in _ARGUMENTS})


def _scaling(mode: str, source: Path) -> Callable[[NDArray[np.float32], str], NDArray[np.float32]]:
    modes = {
        "none": lambda image, name: image,
        "mri": z_score,
        "meanstd": z_score,
        "meanstdtanh": lambda image, name: 3 * np.tanh(z_score(image, name) / 3),
    }
    if mode not in modes:
        raise WeightsError(f"{source} wants the normalisation '{mode}', which is not one for MR; it is another model.")
    return modes[mode]


def _prepared(
    stack: NDArray[np.float32],
    order: tuple[Modality, ...],
    scale: Callable[[NDArray[np.float32], str], NDArray[np.float32]],
    crops: bool,
) -> tuple[NDArray[np.float32], Box]:
    """Each channel normalised over its non-zero voxels, in the box around them with the application's margin."""
    box = measured_box(stack, _MARGIN_VOXELS) if crops else whole_box(stack)
    return scaled(stack, order, scale, box), box
