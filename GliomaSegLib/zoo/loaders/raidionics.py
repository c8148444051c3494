"""Raidionics' segmentation networks (ONNX, run by onnxruntime): tumours before and after surgery, and the brain.

A published archive holds one folder per network, or one per set of sequences (``t1c``, ``t1c_t1w``, ...), each with
``pre_processing.ini``, ``pipeline.json`` and ``model.onnx`` (in newer archives one per fold in folders of their own).
Spacing, crop, shape, normalisation, windows, thresholds and order of the inputs are what these files say, done as
raidionicsseg 1.5 does it; of several folds the first is taken, which is its default. Difference: the image comes on a
grid of the network's spacing already, and is cropped there and not before.

Inputs of an earlier time point are told by the pipeline's ``timestamp`` and ``labels``: T1 + contrast of before surgery
and the tumour on it (Helland's configurations D and E). Like the package, no difference is made between an image and a
mask: both are cropped, clipped and normalised as the settings say.

Where windows overlap Raidionics takes the larger value, and what runs is no torch module: hence the loop of our own.

Bouget D et al. Preoperative brain tumor imaging: models and software for segmentation and standardized reporting. Front
Neurol 2022;13:932219. Helland RH et al. Segmentation of glioblastomas in early post-operative multi-modal MRI with deep
neural networks. Sci Rep 2023;13:18897.
"""

from __future__ import annotations

import configparser
import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import ValidationError
from safetensors.torch import save_file
from scipy import ndimage
from skimage.transform import resize

from GliomaSegLib.case import Input, Modality, Preoperative
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.modality_sets import ModalitySetSegmenter
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.inference.volume import stacked
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Label, Region
from GliomaSegLib.preprocessing.cropping import Box, bounding_box, uncropped
from GliomaSegLib.progress import Progress
from GliomaSegLib.record import Record
from GliomaSegLib.zoo.card_network import Output, Space
from GliomaSegLib.zoo.checkpoint import read_converted

Array = NDArray[np.float32]
Triple = tuple[int, int, int]

_SETTINGS = "pre_processing.ini"
_HEAD = 0.2  # of the range of grey values: what is brighter is head (background_cropping = minimum)
_NO_ANSWER = -100.0  # where no window has been yet
_NORMALISATIONS = (None, "default", "zeromean", "zeromean_nonzero")

# How folders and pipelines call the sequences.
_NAMES = {
    **dict.fromkeys(("t1c", "t1-ce"), Modality.T1C),
    **dict.fromkeys(("t1w", "t1-w"), Modality.T1N),
    **dict.fromkeys(("t2f", "flair"), Modality.T2F),
    **dict.fromkeys(("t2w", "t2"), Modality.T2W),
}


class Described(Record):
    """What the files beside a network say. Sizes are x, y, z; ``None`` and empty mean that they say nothing.

    Attributes:
        name: of the folder.
        sequences: the inputs, in order, or empty when neither the pipeline nor the folder's name tells.
        preoperative: whether some of them are of an earlier time point.
        differences: pairs of inputs whose absolute difference is a further channel.
        crop: ``minimum`` (the head) or ``brain_mask`` (stripped images).
        size: the whole crop is resized to it.
        plane: its axial slices are resized to it, and the distance of slices likewise; ``patch`` then is a slab.
        patch, offset: without ``size`` windows of this size are shown, which overlap by ``offset``.
        clip_percentiles, clip_values: of grey values, before they are normalised.
        turned: whether x and y are exchanged and z shown first.
        channels_first: whether the network takes and gives channels before the axes.
        activation: what the network leaves to be done to its answer.
        thresholds: per channel of the answer.
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


def convert(source: Path, destination: Path) -> None:
    """Write every network below the folder ``source`` (its bytes as a tensor) and what is said of it into one file.

    Raises:
        WeightsError: a file is missing, damaged, or asks for what is not known here.
        InputError: the package onnxruntime is missing.
    """
    folders = sorted((path.parent for path in source.rglob(_SETTINGS)), key=lambda folder: (len(folder.name), folder))
    if not folders:
        raise WeightsError(f"{source} holds no {_SETTINGS}; give the folder that holds Raidionics' archive.")
    networks, described = {}, []
    for number, folder in enumerate(folders):
        found = sorted(folder.glob("*.onnx")) or sorted(folder.glob("*/*.onnx"))
        if not found:
            raise WeightsError(f"{folder} holds no network (*.onnx); get the archive again from its publisher.")
        described.append(_described(folder))
        content = found[0].read_bytes()
        _session(content, torch.device("cpu"), found[0])
        networks[f"onnx.{number}"] = torch.frombuffer(bytearray(content), dtype=torch.uint8)
    save_file(networks, destination, {"described": json.dumps([one.model_dump(mode="json") for one in described])})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, or with ``sets`` those for the sets of sequences, ready to run.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: of the card; ``output.channels`` say what the answer's channels mean. Where the files do not
            name the inputs, they are the card's ``sequences`` and what it takes of the study before surgery.
        device: the processor, or a graphics card where onnxruntime can use it.
        precision: is not used; the published networks are float32.

    Raises:
        WeightsError: the file is damaged, or does not fit the card.
        InputError: onnxruntime is missing.
    """
    space: Space = parameters["space"]
    earlier: tuple[Preoperative, ...] = parameters.get("preoperative", ())
    sets: tuple[tuple[Input, ...], ...] = tuple(
        (*one, *earlier) for one in parameters.get("sets") or (parameters["sequences"],)
    )
    any_one = all(len(one) == 1 for one in sets) and len(sets) > 1
    tensors, _ = read_converted(weights)
    known: dict[frozenset[Input], Segmenter] = {}
    for number, described in enumerate(_read_described(weights)):
        if described.preoperative and not earlier:
            continue
        if described.crop and (described.crop == "brain_mask") != (space.brain == "stripped"):
            raise WeightsError(f"{weights} wants images prepared by '{described.crop}', and the card '{space.brain}'.")
        session = _session(tensors[f"onnx.{number}"].numpy().tobytes(), device, weights)
        orders = sets if any_one else (described.sequences or sets[0],)
        for order in orders:
            if len(order) == described.inputs:
                known[frozenset(order)] = OnnxSegmenter(session, described, order, parameters["output"])
    usable = {one: known[frozenset(one)] for one in sets if frozenset(one) in known}
    if not usable:
        wanted = "; or ".join(", ".join(channel.title for channel in one) for one in sets)
        raise WeightsError(f"{weights} holds no network for what its card takes ({wanted}); install the model again.")
    return ModalitySetSegmenter(usable)


def spacing_mm(weights: Path) -> tuple[float, float, float]:
    """The voxels (x, y, z) that the networks were trained on; 1 mm where their files leave it open.

    Raises:
        WeightsError: the file is damaged, or its networks want different ones.
    """
    found = {one.spacing_mm or (1.0, 1.0, 1.0) for one in _read_described(weights)}
    if len(found) > 1:
        raise WeightsError(f"The networks in {weights} want images of different voxels ({found}).")
    return found.pop()


# --- the published files -----------------------------------------------------------------------------------------


def _described(folder: Path) -> Described:
    path = folder / _SETTINGS
    settings = configparser.ConfigParser()
    try:
        settings.read_string(path.read_text(encoding="utf-8"))
        if _value(settings, "Default", "imaging_modality") != "MRI":
            raise WeightsError(f"{path} is of a network for CT; only those for MR are run.")
        inputs = int(_value(settings, "PreProcessing", "number_inputs") or 1)
        sequences, preoperative = _inputs(folder, inputs)
        included = _value(settings, "Training", "activation_layer_included")
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
            patch = (*plane, *(_numbers(settings, "Training", "slab_size") or ()))
        elif turned and patch:  # they are told in the order in which raidionicsseg holds the image: y, x, z
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
            activation=None if included is None or included.lower() == "true" else _activation(settings),
            thresholds=_numbers(settings, "Training", "optimal_thresholds") or (0.5,),
        )
    except (OSError, ValueError, KeyError, configparser.Error, ValidationError) as error:
        raise WeightsError(f"{path} cannot be used ({error}); get the archive again from its publisher.") from error


def _value(settings: configparser.ConfigParser, section: str, key: str) -> str | None:
    """A value without the comment behind it; ``None`` when it is not there or empty."""
    return settings.get(section, key, fallback="").split("#")[0].strip() or None


def _numbers(settings: configparser.ConfigParser, section: str, key: str) -> Any:
    """Numbers between commas, or ``None``; whether they are as many as they should be is for the record to check."""
    value = _value(settings, section, key)
    return tuple(float(number) for number in value.split(",")) if value else None


def _pairs(value: str | None) -> tuple[tuple[int, int], ...]:
    pairs = [pair.split(",") for pair in value.split(";")] if value else []
    return tuple((int(first), int(second)) for first, second in pairs)


def _activation(settings: configparser.ConfigParser) -> str:
    return "sigmoid" if _value(settings, "Training", "activation_layer_type") == "sigmoid" else "softmax"


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
    named = [one for one in parts if one]
    return (tuple(named) if len(named) == count else ()), False


def _input(said: dict[str, Any], now: int | None) -> Input | None:
    """What the pipeline says of one input; of an earlier time only T1 + contrast and the tumour on it are known."""
    if said.get("labels"):
        return Preoperative.TUMOUR
    sequence = _NAMES.get(str(said.get("sequence", "")).lower())
    if said.get("timestamp", now) == now:
        return sequence
    return Preoperative.T1C if sequence is Modality.T1C else None


def _read_described(weights: Path) -> list[Described]:
    try:
        return [Described.model_validate(one) for one in json.loads(read_converted(weights)[1]["described"])]
    except (KeyError, ValueError) as error:
        raise WeightsError(f"The weights {weights} have lost their settings; install the model again.") from error


def _session(content: bytes, device: torch.device, source: Path) -> Any:
    """onnxruntime's session of a network."""
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "Networks in ONNX format need the package onnxruntime; run 'pip install GliomaSeg[onnx]'."
        ) from error
    on_card = device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    try:
        return onnxruntime.InferenceSession(
            content, providers=["CUDAExecutionProvider"] * on_card + ["CPUExecutionProvider"]
        )
    except Exception as error:  # onnxruntime's own exceptions share no other base
        raise WeightsError(f"{source} is no network that onnxruntime can read ({error}); get it again.") from error


# --- the segmenter -------------------------------------------------------------------------------------------------


class OnnxSegmenter:
    """One network of Raidionics'. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        session: onnxruntime's.
        described: what its files say.
        order: what is shown to it, in order.
        output: what the answer's channels mean.
    """

    def __init__(self, session: Any, described: Described, order: tuple[Input, ...], output: Output) -> None:
        if described.normalisation not in _NORMALISATIONS:
            raise WeightsError(
                f"'{described.name}' wants the normalisation '{described.normalisation}', not known here."
            )
        if len(described.thresholds) not in (1, len(output.channels)):
            raise WeightsError(f"'{described.name}' has {len(described.thresholds)} channels, other than its card.")
        self._session, self._described, self._order, self._output = session, described, order, output

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case. Nothing here is random.

        Raises:
            InputError: a sequence is missing, images have different shapes, or one is empty.
        """
        stack = stacked(images, self._order)
        xyz = stack.transpose(0, 3, 2, 1)
        box = _crop(xyz[0], self._described.crop)
        cropped = xyz[(slice(None), *box)]
        channels = _channels(cropped, self._described)
        answer = self._whole(channels) if self._described.size else self._windows(channels, progress)
        if answer.shape[1:] != cropped.shape[1:]:
            ratio = [wanted / own for wanted, own in zip(cropped.shape[1:], answer.shape[1:], strict=True)]
            answer = np.stack([ndimage.zoom(one, ratio, order=1) for one in answer])
        progress.advance(1.0)
        full = np.stack([uncropped(one, box, xyz.shape[1:]) for one in answer]).transpose(0, 3, 2, 1)
        labels, maps = _labels(full, self._described.thresholds, self._output)
        device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        return Prediction(labels, maps, device, "float32")

    def _whole(self, channels: Array) -> Array:
        return _activated(self._run(channels), self._described.activation)

    def _windows(self, channels: Array, progress: Progress) -> Array:
        """The larger answer of the windows that saw a voxel; an image smaller than a window is continued outwards."""
        patch, offset = self._described.patch, self._described.offset
        assert patch is not None
        sides = [-(-max(window - own, 0) // 2) for own, window in zip(channels.shape[1:], patch, strict=True)]
        slabs = self._described.plane is not None  # these are filled up behind the last slice alone
        before, after = ((0, 0, 0), (0, 0, -channels.shape[3] % patch[2])) if slabs else (sides, sides)
        padded = np.pad(channels, ((0, 0), *zip(before, after, strict=True)), mode="edge")
        starts = [
            sorted({min(number * (window - less), own - window) for number in range(-(-own // (window - less)))})
            for own, window, less in zip(padded.shape[1:], patch, offset, strict=True)
        ]
        places = list(itertools.product(*starts))
        largest: Array | None = None
        for done, corner in enumerate(places):
            here = (slice(None), *(slice(first, first + window) for first, window in zip(corner, patch, strict=True)))
            found = self._run(padded[here])
            if largest is None:
                largest = np.full((len(found), *padded.shape[1:]), _NO_ANSWER, np.float32)
            largest[here] = np.maximum(largest[here], found)
            progress.advance((done + 1) / len(places))
        assert largest is not None
        inside = tuple(slice(first, first + own) for first, own in zip(before, channels.shape[1:], strict=True))
        return _activated(largest[(slice(None), *inside)], self._described.activation)

    def _run(self, channels: Array) -> Array:
        """The network's first answer ``[class, x, y, z]`` to ``[channel, x, y, z]``."""
        described = self._described
        turned = channels.transpose(0, 3, 2, 1) if described.turned else channels  # z, y, x, as raidionicsseg gives it
        shown = turned if described.channels_first else np.moveaxis(turned, 0, -1)
        name = self._session.get_inputs()[0].name
        found = self._session.run(None, {name: np.ascontiguousarray(shown[None], np.float32)})[0][0]
        answer = found if described.channels_first else np.moveaxis(found, -1, 0)
        return answer.transpose(0, 3, 2, 1) if described.turned else answer


def _crop(first: Array, method: str | None) -> Box:
    """The box (x, y, z) of the first input that is looked at."""
    if method is None:
        return slice(0, first.shape[0]), slice(0, first.shape[1]), slice(0, first.shape[2])
    least = int((first.max() - first.min()) * _HEAD)
    return bounding_box(ndimage.binary_fill_holes(first >= least if method == "minimum" else first != 0))


def _channels(cropped: Array, described: Described) -> Array:
    """The inputs and their differences, resized where that is asked for, clipped and normalised each on its own."""
    size = described.size
    if described.plane:
        size = (*described.plane, int(cropped.shape[3] * (described.plane[1] / cropped.shape[2])))
    plain = [resize(one, size, order=1) if size else one for one in cropped.astype(np.float64)]
    plain += [np.abs(plain[first] - plain[second]) for first, second in described.differences]
    return np.stack([_normalised(_clipped(one, described), described.normalisation) for one in plain])


def _clipped(image: NDArray[np.float64], described: Described) -> NDArray[np.float64]:
    positive = np.maximum(image, 0)
    low, high = described.clip_percentiles
    if high - low != 100:
        return np.clip(positive, *np.percentile(positive, (low, high)))
    values = described.clip_values
    return np.clip(positive, *values) if values and values[1] > values[0] else positive


def _normalised(image: NDArray[np.float64], method: str | None) -> Array:
    """Raidionics leaves an image without contrast as it is, and so is done here."""
    values = image.astype(np.float32)
    inside = values != 0 if method == "zeromean_nonzero" else np.ones(values.shape, bool)
    if method == "default":
        offset, spread = values.min(), values.max() - values.min()
    elif method is None or not inside.any():
        return values
    else:
        offset, spread = values[inside].mean(), values[inside].std(ddof=int(method == "zeromean_nonzero"))
    if spread == 0:
        return values
    return np.where(inside, (values - offset) / spread, values).astype(np.float32)


def _activated(answer: Array, activation: str | None) -> Array:
    if activation is None:
        return answer
    logits = torch.from_numpy(np.ascontiguousarray(answer))
    return (torch.sigmoid(logits) if activation == "sigmoid" else torch.softmax(logits, dim=0)).numpy()


def _labels(
    answer: Array, thresholds: tuple[float, ...], output: Output
) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
    """A channel that is one of our regions becomes its labels where it reaches its threshold; a brain becomes 1."""
    each = thresholds if len(thresholds) > 1 else thresholds * len(output.channels)
    reached = {
        name: values >= threshold
        for name, values, threshold in zip(output.channels, answer, each, strict=True)
        if name != "background"
    }
    if "brain" in reached:
        return reached["brain"].astype(np.uint8), {}
    maps = {Region(name): answer[output.channels.index(name)] for name in reached}
    nothing = np.zeros(answer.shape[1:], bool)
    whole, core, enhancing = (reached.get(region.value, nothing) for region in (Region.WT, Region.TC, Region.ET))
    labels = compose(whole | core | enhancing, core | enhancing, enhancing)
    if Region.RC.value in reached:
        labels[reached[Region.RC.value]] = Label.RC
    return labels, maps
