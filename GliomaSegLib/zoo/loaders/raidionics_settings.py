"""The files that Raidionics publishes beside a network: ``pre_processing.ini`` and ``pipeline.json``.

Spacing, crop, shape, normalisation, windows, thresholds and order of the inputs are what these files say, read as
raidionicsseg 1.5 reads them. Inputs of an earlier time point are named by the pipeline's ``timestamp`` and ``labels``:
T1 + contrast before surgery and the tumour on it (Helland's configurations D and E).
"""

from __future__ import annotations

import configparser
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from GliomaSegLib.case import Input, Modality, Preoperative
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.record import Record

Triple = tuple[int, int, int]

SETTINGS = "pre_processing.ini"

# Names of the sequences in folders and pipelines.
_NAMES = {
    **dict.fromkeys(("t1c", "t1-ce"), Modality.T1C),
    **dict.fromkeys(("t1w", "t1-w"), Modality.T1N),
    **dict.fromkeys(("t2f", "flair"), Modality.T2F),
    **dict.fromkeys(("t2w", "t2"), Modality.T2W),
}


class Described(Record):
    """The settings of a network. Sizes are x, y, z in voxels; ``None`` and empty: not given.

    Attributes:
        name: of the folder.
        sequences: the inputs, in order, or empty when neither the pipeline nor the folder's name gives them.
        preoperative: whether some of them are of an earlier time point.
        differences: pairs of inputs whose absolute difference is a further channel.
        crop: ``minimum`` (the head) or ``brain_mask`` (stripped images).
        size: the whole crop is resized to it.
        plane: its axial slices are resized to it, and the slice spacing accordingly; ``patch`` then is a slab.
        patch, offset: without ``size`` the network gets windows of this size, which overlap by ``offset``.
        clip_percentiles, clip_values: of grey values, before they are normalised.
        turned: whether x and y are exchanged and z is the first axis.
        channels_first: whether the network takes and gives channels before the axes.
        activation: to be applied to the network's output; ``None`` when the network contains it.
        thresholds: per output channel.
    """

    name: str
    sequences: tuple[Input, ...]
    preoperative: bool
    inputs: int
    differences: tuple[tuple[int, int], ...]
    spacing_mm: tuple[float, float, float] | None
    crop: str | None
    size: Triple | None
    plane: tuple[int, int] | None
    patch: Triple | None
    offset: Triple
    clip_percentiles: tuple[float, float]
    clip_values: tuple[float, float] | None
    normalisation: str | None
    turned: bool
    channels_first: bool
    activation: str | None
    thresholds: tuple[float, ...]


def read_settings(folder: Path) -> Described:
    """The settings in the folder of a network.

    Raises:
        WeightsError: they cannot be read, or ask for what is not known here.
    """
    path = folder / SETTINGS
    settings = configparser.ConfigParser()
    try:
        settings.read_string(path.read_text(encoding="utf-8"))
        if _value(settings, "Default", "imaging_modality") != "MRI":
            raise WeightsError(f"{path} is of a network for CT; only those for MR are run.")
        inputs = int(_value(settings, "PreProcessing", "number_inputs") or 1)
        sequences, preoperative = _inputs(folder, inputs)
        included = _value(settings, "Training", "activation_layer_included")
        kind = _value(settings, "Training", "activation_layer_type")
        activation = "sigmoid" if kind == "sigmoid" else "softmax"
        size, patch = (
            _numbers(settings, "PreProcessing", "new_axial_size"),
            _numbers(settings, "Training", "patch_size"),
        )
        offset = _numbers(settings, "Training", "patch_offset") or (0, 0, 0)
        turned = (_value(settings, "PreProcessing", "swap_training_input") or "").lower() == "true"
        plane = None
        if size and len(size) == 2:
            if (_value(settings, "PreProcessing", "slicing_plane") or "axial") != "axial":
                raise WeightsError(
                    f"{path} is of a network that sees slabs of other than axial slices, which is not run."
                )
            size, plane, offset = None, size, (0, 0, 0)
            patch = (*(plane or ()), *(_numbers(settings, "Training", "slab_size") or ()))
        elif turned and patch:  # given in raidionicsseg's order of axes: y, x, z
            patch, offset = (patch[1], patch[0], *patch[2:]), (offset[1], offset[0], *offset[2:])
        if not (size or patch):
            raise WeightsError(f"{path} says neither the size of the image nor that of a window.")
        return Described(
            name=folder.name,
            sequences=sequences,
            preoperative=preoperative,
            inputs=inputs,
            differences=_pairs(_value(settings, "PreProcessing", "diffloader_pairs")),
            spacing_mm=_numbers(settings, "PreProcessing", "output_spacing"),
            crop=(_value(settings, "PreProcessing", "background_cropping") or "").lower() or None,
            size=size,
            plane=plane,
            patch=patch,
            offset=offset,
            clip_percentiles=_numbers(settings, "PreProcessing", "intensity_clipping_range") or (0.0, 100.0),
            clip_values=_numbers(settings, "PreProcessing", "intensity_clipping_values"),
            normalisation=(_value(settings, "PreProcessing", "normalization_method") or "").lower() or None,
            turned=turned,
            channels_first=_value(settings, "PreProcessing", "channels_order") == "channels_first",
            activation=None if included is None or included.lower() == "true" else activation,
            thresholds=_numbers(settings, "Training", "optimal_thresholds") or (0.5,),
        )
    except (OSError, ValueError, KeyError, configparser.Error, ValidationError) as error:
        raise WeightsError(f"{path} cannot be used ({error}); get the archive again from its publisher.") from error


def _value(settings: configparser.ConfigParser, section: str, key: str) -> str | None:
    """A value without the comment behind it; ``None`` when it is not there or empty."""
    return settings.get(section, key, fallback="").split("#")[0].strip() or None


def _numbers(settings: configparser.ConfigParser, section: str, key: str) -> Any:
    """Numbers between commas, or ``None``; their number is checked by the record."""
    value = _value(settings, section, key)
    return tuple(float(number) for number in value.split(",")) if value else None


def _pairs(value: str | None) -> tuple[tuple[int, int], ...]:
    pairs = [pair.split(",") for pair in value.split(";")] if value else []
    return tuple((int(first), int(second)) for first, second in pairs)


def _inputs(folder: Path, count: int) -> tuple[tuple[Input, ...], bool]:
    """The inputs in order, and whether some are of an earlier time; from the pipeline, else from the folder's name."""
    steps = json.loads(path.read_text(encoding="utf-8")) if (path := folder / "pipeline.json").is_file() else {}
    for step in reversed(list(steps.values())):
        inputs = step.get("inputs", {})
        if step.get("task") == "Segmentation" and len(inputs) == count:
            given = [inputs[key] for key in sorted(inputs, key=int)]
            now = max((one["timestamp"] for one in given if one.get("timestamp") is not None), default=None)
            named = [_input(one, now) for one in given]
            earlier = any(one.get("labels") or one.get("timestamp", now) != now for one in given)
            return (tuple(one for one in named if one) if None not in named else ()), earlier
    parts = [_NAMES.get(part) for part in folder.name.lower().split("_")]
    found = tuple(one for one in parts if one)
    return (found if len(found) == count else ()), False


def _input(given: dict[str, Any], now: int | None) -> Input | None:
    """One input as the pipeline describes it; of an earlier time only T1 + contrast and the tumour on it are known."""
    if given.get("labels"):
        return Preoperative.TUMOUR
    sequence = _NAMES.get(str(given.get("sequence", "")).lower())
    if given.get("timestamp", now) == now:
        return sequence
    return Preoperative.T1C if sequence is Modality.T1C else None


def described_in(metadata: Mapping[str, str], weights: Path) -> list[Described]:
    """The settings in the metadata of converted ``weights``."""
    try:
        return [Described.model_validate(one) for one in json.loads(metadata["described"])]
    except (KeyError, ValueError) as error:
        raise WeightsError(f"The weights {weights} have lost their settings; install the model again.") from error
