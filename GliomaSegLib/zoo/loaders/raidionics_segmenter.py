"""Runs Raidionics' networks with onnxruntime, on the resized crop or in windows, as raidionicsseg 1.5 does.

Where windows overlap Raidionics takes the larger value, and the network is no torch module; therefore this module has
its own loop over windows instead of :mod:`GliomaSegLib.inference.volume`.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from skimage.transform import resize

from GliomaSegLib.case import Input
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.outputs import Array
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.volume import stacked
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import TUMOUR_REGIONS, Label, Region
from GliomaSegLib.preprocessing.cropping import Box, bounding_box, uncropped
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card_network import Output
from GliomaSegLib.zoo.loaders.raidionics_settings import Described

_HEAD = 0.2  # of the range of grey values: what is brighter is head (background_cropping = minimum)
_NO_ANSWER = -100.0  # where no window has been run yet
_NORMALISATIONS = (None, "default", "zeromean", "zeromean_nonzero")


class OnnxSegmenter:
    """One network of Raidionics'. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        session: onnxruntime's.
        described: its published settings.
        order: its inputs, in order.
        output: the meanings of the output's channels.
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
        if self._described.size:
            answer = _activated(self._run(channels), self._described.activation)
        else:
            answer = self._windows(channels, progress)
        if answer.shape[1:] != cropped.shape[1:]:
            ratio = [wanted / own for wanted, own in zip(cropped.shape[1:], answer.shape[1:], strict=True)]
            answer = np.stack([ndimage.zoom(one, ratio, order=1) for one in answer])
        progress.advance(1.0)
        full = np.stack([uncropped(one, box, xyz.shape[1:]) for one in answer]).transpose(0, 3, 2, 1)
        labels, maps = _labels(full, self._described.thresholds, self._output)
        device = "cuda" if "CUDAExecutionProvider" in self._session.get_providers() else "cpu"
        return Prediction(labels, maps, device, "float32")

    def _windows(self, channels: Array, progress: Progress) -> Array:
        """The largest output of the windows over each voxel; an image smaller than a window is padded with its edge."""
        patch, offset = self._described.patch, self._described.offset
        assert patch is not None
        sides = [-(-max(window - own, 0) // 2) for own, window in zip(channels.shape[1:], patch, strict=True)]
        slabs = self._described.plane is not None  # padded after the last slice only
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
        """The network's first output ``[class, x, y, z]`` for the input ``[channel, x, y, z]``."""
        described = self._described
        turned = channels.transpose(0, 3, 2, 1) if described.turned else channels  # z, y, x, as raidionicsseg gives it
        shown = turned if described.channels_first else np.moveaxis(turned, 0, -1)
        name = self._session.get_inputs()[0].name
        found = self._session.run(None, {name: np.ascontiguousarray(shown[None], np.float32)})[0][0]
        answer = found if described.channels_first else np.moveaxis(found, -1, 0)
        return answer.transpose(0, 3, 2, 1) if described.turned else answer


def _crop(first: Array, method: str | None) -> Box:
    """The box (x, y, z) around the head or the brain in the first input."""
    if method is None:
        return slice(0, first.shape[0]), slice(0, first.shape[1]), slice(0, first.shape[2])
    least = int((first.max() - first.min()) * _HEAD)
    return bounding_box(ndimage.binary_fill_holes(first >= least if method == "minimum" else first != 0))


def _channels(cropped: Array, described: Described) -> Array:
    """The inputs and their differences, resized where the settings say so, each clipped and normalised separately."""
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
    """The image normalised; one without contrast is left unchanged, as in Raidionics."""
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
    """Internal labels of the channels that are tumour regions, where they reach their thresholds; 1 for a brain."""
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
    whole, core, enhancing = (reached.get(region.value, nothing) for region in TUMOUR_REGIONS)
    labels = compose(whole | core | enhancing, core | enhancing, enhancing)
    if Region.RC.value in reached:
        labels[reached[Region.RC.value]] = Label.RC
    return labels, maps
