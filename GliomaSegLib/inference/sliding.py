"""Volume networks of any family: images -> normalised channels -> windows -> logits -> probabilities -> labels.

What a family's own inference does around its network is said in a :class:`InferenceSpec`; the windows, the averaging of
folds and mirrored views, the choice of device and number format and the way out when memory is short are the same for
all.

The windows and their weights are those of MONAI's ``SlidingWindowInferer`` (a test compares the two). The loop is our
own because nnU-Net places its windows otherwise, and because a run must tell how far it is, be cancelled between two
windows, and go on in smaller pieces or on the processor when memory runs out.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib import case
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.device import choose_precision, free_memory_bytes, place
from GliomaSegLib.inference.memory import peak_bytes
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import REGION_LABELS, Label, Region
from GliomaSegLib.postprocessing import bounding_box
from GliomaSegLib.progress import Progress

Box = tuple[slice, slice, slice]
Size = tuple[int, int, int]
Array = NDArray[np.float32]

# Given (size, window, overlap) of an axis: where its windows begin.
Placing = Callable[[int, int, float], list[int]]

# Given a window's size: the weight of its voxels' answers, float32 [*window].
Importance = Callable[[Size], Tensor]

# Probabilities float32 [class, z, y, x] to internal labels uint8 [z, y, x] and the maps of regions.
Answer = Callable[[Array], tuple[NDArray[np.uint8], dict[Region, Array]]]

# A window that is trimmed to any volume: the whole field in one pass.
WHOLE_FIELD = (1 << 20, 1 << 20, 1 << 20)

# A window on a processor is cut so that it takes no more than this, whatever is free: others use the computer too.
_PROCESSOR_BYTES = 4_000_000_000

# Of a voxel's answer, as in MONAI: the corners of a window must count for something where no other window reaches.
_LEAST_WEIGHT = 1e-3

# A window is not cut below this many voxels per axis when memory is short: the network would see too little.
_LEAST_WINDOW = 64


# --- windows -------------------------------------------------------------------------------------------------------


def regular(size: int, window: int, overlap: float) -> list[int]:
    """MONAI's placing: equal steps from the first voxel; the last window is moved back to end with the volume."""
    step = max(int(window * (1 - overlap)), 1)
    count = 1 + max(-(-(size - window) // step), 0)
    return [min(index * step, max(size - window, 0)) for index in range(count)]


def even(size: int, window: int, overlap: float) -> list[int]:
    """nnU-Net's placing: as many windows as that overlap needs at least, evenly spread from end to end."""
    count = 1 + int(np.ceil(max(size - window, 0) / (window * (1 - overlap))))
    return [round(place) for place in np.linspace(0, max(size - window, 0), count)]


def constant(window: Size) -> Tensor:
    """Every voxel's answer counts the same."""
    return torch.ones(window)


def gaussian(window: Size) -> Tensor:
    """MONAI's weights: a Gaussian with a standard deviation of an eighth of the window, and nowhere below 0.001."""
    centred = [torch.arange(voxels) - (voxels - 1) / 2 for voxels in window]
    z, y, x = (torch.exp(places**2 / (-2 * (len(places) / 8) ** 2)) for places in centred)
    return (z[:, None, None] * y[:, None] * x).clamp_min(_LEAST_WEIGHT)


@dataclass(frozen=True)
class Windows:
    """How a network goes through a volume. Sizes and axes are in the order of the network's own axes.

    Attributes:
        size: voxels of a window.
        overlap: of neighbouring windows, as a fraction of a window.
        placing: where they begin.
        importance: how their answers are weighted where they overlap.
        trims_to: a window that is larger than the volume is cut down to it, in multiples of this many voxels, instead
            of the volume being padded to the window. Faster; networks that normalise over what they see answer a
            little differently. ``None`` pads, as the networks' own packages do.
        mirrors: the sets of axes along which the window is also shown mirrored; the answers are averaged.
        padding: what a volume smaller than a window is padded with: 0, or its outermost voxels.
    """

    size: Size
    overlap: float
    placing: Placing = regular
    importance: Importance = constant
    trims_to: int | None = None
    mirrors: tuple[tuple[int, ...], ...] = ()
    padding: Literal["constant", "replicate"] = "constant"

    def fitted(self, shape: Sequence[int]) -> Windows:
        """For a volume of ``shape``."""
        if self.trims_to is None:
            return self
        step = self.trims_to
        sizes = (min(most, -(-own // step) * step) for most, own in zip(self.size, shape, strict=True))
        return replace(self, size=tuple(sizes))

    def smaller(self) -> Windows | None:
        """With the longest axis halved, or ``None`` when that would be too little."""
        longest = max(range(3), key=lambda axis: self.size[axis])
        half = -(-self.size[longest] // 2 // 32) * 32
        if half < _LEAST_WINDOW or half >= self.size[longest]:
            return None
        return replace(self, size=tuple(half if axis == longest else self.size[axis] for axis in range(3)))

    def places(self, shape: Sequence[int]) -> list[Box]:
        """The windows in a (padded) volume of ``shape``."""
        starts = [self.placing(own, window, self.overlap) for own, window in zip(shape, self.size, strict=True)]
        return [
            tuple(slice(start, start + window) for start, window in zip(first, self.size, strict=True))
            for first in itertools.product(*starts)
        ]


def mirrors(*axes: int) -> tuple[tuple[int, ...], ...]:
    """Every combination of mirrored ``axes`` (of 0, 1, 2), as nnU-Net averages them."""
    return tuple(chosen for count in range(1, len(axes) + 1) for chosen in itertools.combinations(sorted(axes), count))


def slide(
    networks: Sequence[nn.Module],
    volume: Tensor,
    windows: Windows,
    device: torch.device,
    precision: torch.dtype,
    told: Callable[[float], None],
    batch: int = 1,
) -> Tensor:
    """The networks' mean logits over a volume.

    Args:
        networks: on ``device``; each takes ``[n, channel, *window]`` and answers ``[n, class, *window]``.
        volume: ``float32 [channel, *shape]``, on the processor.
        windows: how to go through it; a volume smaller than a window is padded on both sides.
        device, precision: where and in which number format to run.
        told: hears the fraction done after each window; may raise ``Cancelled``.
        batch: how many mirrored views are shown at once.

    Returns:
        ``float32 [class, *shape]`` on the processor.
    """
    shape = volume.shape[1:]
    missing = [max(window - own, 0) for window, own in zip(windows.size, shape, strict=True)]
    before = [voxels // 2 for voxels in missing]
    after = [voxels - voxels // 2 for voxels in missing]
    sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
    padded = functional.pad(volume, sides, mode=windows.padding) if any(missing) else volume
    weight = windows.importance(windows.size)
    total: Tensor | None = None
    weights = torch.zeros(padded.shape[1:])
    places = windows.places(padded.shape[1:])
    for done, here in enumerate(places):
        seen = padded[(slice(None), *here)].to(device)
        logits = _mean_answer(networks, seen, windows, precision, batch).cpu()
        if len(places) == 1:
            total, weights = logits, torch.ones(1)
        else:
            total = torch.zeros((len(logits), *padded.shape[1:])) if total is None else total
            total[(slice(None), *here)] += logits * weight
            weights[here] += weight
        told((done + 1) / len(places))
    inside = tuple(slice(first, first + own) for first, own in zip(before, shape, strict=True))
    return (total / weights)[(slice(None), *inside)]


def _mean_answer(
    networks: Sequence[nn.Module],
    seen: Tensor,
    windows: Windows,
    precision: torch.dtype,
    batch: int,
) -> Tensor:
    """Mean logits ``float32 [class, *window]`` of all networks and mirrored views."""
    views = [(), *windows.mirrors]
    total: Tensor | None = None
    for network in networks:
        for first in range(0, len(views), batch):
            now = views[first : first + batch]
            shown = torch.stack([_mirrored(seen, axes) for axes in now])
            if seen.device.type != "mps":
                shown = shown.contiguous(memory_format=torch.channels_last_3d)
            with torch.autocast(seen.device.type, precision, enabled=precision != torch.float32):
                answers = network(shown)
            for answer, axes in zip(answers, now, strict=True):
                turned = _mirrored(answer.float(), axes)
                total = turned if total is None else total.add_(turned)
    return total / (len(networks) * len(views))


def _mirrored(volume: Tensor, axes: tuple[int, ...]) -> Tensor:
    return volume.flip([axis + 1 for axis in axes]) if axes else volume


# --- answers -------------------------------------------------------------------------------------------------------


def regions_per_channel(order: Sequence[Region], threshold: float = 0.5) -> Answer:
    """For networks with a sigmoid and a channel per region, in ``order``.

    A region is where its probability reaches ``threshold``. Where they are not nested the smaller one wins, as the
    networks' own packages do it: enhancing tumour is core, and core is tumour, wherever they are found.
    """

    def answer(probabilities: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        maps = dict(zip(order, probabilities, strict=True))
        nothing = np.zeros(probabilities.shape[1:], np.bool_)
        whole, core, enhancing, cavity = (
            maps[region] >= threshold if region in maps else nothing
            for region in (Region.WT, Region.TC, Region.ET, Region.RC)
        )
        labels = compose(whole | core | enhancing, core | enhancing, enhancing)
        labels[cavity] = Label.RC
        return labels, maps

    return answer


def label_per_channel(order: Sequence[Label], threshold: float = 0.5) -> Answer:
    """For networks with a softmax and a channel per label, in ``order``, the background first: the most likely one.

    With two channels the second is taken where its probability reaches ``threshold``. A region's probability is the
    sum of those of its labels.
    """
    maps = {
        region: [channel for channel, label in enumerate(order) if label in labels]
        for region, labels in REGION_LABELS.items()
        if set(labels) & set(order)
    }
    numbers = np.array([int(label) for label in order], np.uint8)

    def answer(probabilities: Array) -> tuple[NDArray[np.uint8], dict[Region, Array]]:
        regions = {region: probabilities[channels].sum(axis=0) for region, channels in maps.items()}
        if len(order) == 2:
            return numbers[(probabilities[1] >= threshold).astype(np.intp)], regions
        return numbers[probabilities.argmax(axis=0)], regions

    return answer


# --- the segmenter -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class InferenceSpec:
    """What a family's own inference does around its network.

    Attributes:
        order: the sequences in channel order.
        prepare: images ``float32 [channel, z, y, x]`` in that order (a missing sequence is 0 throughout) to the
            normalised channels inside a box, and that box. May raise ``InputError``.
        windows: how the network goes through them.
        activate: logits ``[class, ...]`` to probabilities.
        answer: probabilities to labels and maps.
        axes: which of z, y, x (0, 1, 2) each axis of the network is; ``(2, 1, 0)`` for networks that were trained on
            arrays as nibabel reads them.
        flipped: the network's axes (0, 1, 2) that run against those of the grid.
        finish: post-processing that belongs to the model, on labels of the whole grid.
    """

    order: tuple[case.Modality, ...]
    prepare: Callable[[Array], tuple[Array, Box]]
    windows: Windows
    activate: Callable[[Tensor], Tensor]
    answer: Answer
    axes: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[int, ...] = ()
    finish: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = field(default=lambda labels: labels)


class VolumeSegmenter:
    """Networks that see blocks of voxels. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        networks: one, or the folds of an ensemble; in float32 on the processor.
        contract: what is done around them.
        device, precision: where and in which number format to run.
        needed_bytes: memory that a window of a size takes (its default counts the tensors of the first network).
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        contract: InferenceSpec,
        device: torch.device,
        precision: torch.dtype,
        needed_bytes: Callable[[Size, torch.dtype], int] | None = None,
    ) -> None:
        self._networks = [network.eval().requires_grad_(False) for network in networks]
        self._contract = contract
        self._device, self._precision = device, precision
        self._traced: dict[tuple[Size, torch.dtype], int] = {}
        self._needed_bytes = needed_bytes or self._traced_bytes

    def predict(self, images: Mapping[case.Modality, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case. Nothing here is random.

        Raises:
            InputError: no image, images of different shapes, an empty or constant one, or too little memory.
        """
        stack = stacked(images, self._contract.order)
        channels, box = self._contract.prepare(stack)
        logits, device, precision = self._logits(self._turned(channels), progress)
        with torch.inference_mode():
            found = self._turned_back(self._contract.activate(logits))
        labels, maps = self._contract.answer(found)
        shape = stack.shape[1:]
        return Prediction(
            self._contract.finish(uncropped(labels, box, shape)),
            {region: uncropped(values, box, shape) for region, values in maps.items()},
            str(device),
            str(precision).removeprefix("torch."),
        )

    def _turned(self, channels: Array) -> Tensor:
        """``[channel, z, y, x]`` along the network's axes."""
        turned = channels.transpose(0, *(axis + 1 for axis in self._contract.axes))
        return torch.from_numpy(np.ascontiguousarray(np.flip(turned, [axis + 1 for axis in self._contract.flipped])))

    def _turned_back(self, probabilities: Tensor) -> Array:
        """``[class, z, y, x]`` again."""
        found = np.flip(probabilities.numpy(), [axis + 1 for axis in self._contract.flipped])
        return found.transpose(0, *(np.argsort(self._contract.axes) + 1))

    def _logits(self, volume: Tensor, progress: Progress) -> tuple[Tensor, torch.device, torch.dtype]:
        """The logits, and the device and precision that there was room for."""
        fitted = self._contract.windows.fitted(volume.shape[1:])
        for device, precision, windows, needed in self._ways(fitted, progress):
            batch = max(1, int(free_memory_bytes(device) * 0.8 // needed)) if device.type == "cuda" else 1
            try:
                networks = [_placed(network, device) for network in self._networks]
                with torch.inference_mode():
                    logits = slide(networks, volume, windows, device, precision, progress.advance, batch)
                return logits, device, precision
            except torch.OutOfMemoryError:  # others use the graphics card too; the next way needs less
                torch.cuda.empty_cache()
        raise InputError("The graphics card's memory ran out; run the network on the processor (--device cpu).")

    def _ways(self, windows: Windows, progress: Progress) -> Iterator[tuple[torch.device, torch.dtype, Windows, int]]:
        """Where, how precisely and in which windows to run, and the bytes that takes: each way needs less memory than
        the one before it. The last is the processor, which is refused when it has too little memory.
        """
        if self._device.type == "cuda":
            way: Windows | None = windows
            while way is not None:
                needed = self._needed_bytes(way.size, self._precision)
                if needed <= free_memory_bytes(self._device):
                    self._tell_if_smaller(way, windows, progress)
                    yield self._device, self._precision, way, needed
                way = way.smaller()
            progress.warn(
                "The graphics card has too little free memory for this case, so the network runs on the processor, "
                "which is slower."
            )
        lowered = self._precision != torch.float32
        precision = choose_precision(self._home) if lowered and self._device.type == "cuda" else self._precision
        budget = min(free_memory_bytes(self._home), _PROCESSOR_BYTES)
        way = windows
        while (smaller := way.smaller()) and self._needed_bytes(way.size, precision) > budget:
            way = smaller
        self._tell_if_smaller(way, windows, progress)
        needed = self._needed_bytes(way.size, precision)
        yield place(self._home, needed, progress), precision, way, needed

    @staticmethod
    def _tell_if_smaller(way: Windows, windows: Windows, progress: Progress) -> None:
        if way is not windows:
            progress.warn(
                "To fit into memory the network looks at smaller pieces of the image than it was made for "
                f"({way.size} instead of {windows.size} voxels); its answer may be a little worse."
            )

    @property
    def _home(self) -> torch.device:
        return self._device if self._device.type != "cuda" else torch.device("cpu")

    def _traced_bytes(self, window: Size, precision: torch.dtype) -> int:
        """Counted once for a window; following a network takes about a second."""
        if (window, precision) not in self._traced:
            shape = (len(self._contract.order), *window)
            self._traced[window, precision] = peak_bytes(self._networks[0], shape, precision)
        return self._traced[window, precision]


class ModalitySetSegmenter:
    """A segmenter with one of its own for each set of sequences; a case goes to the first whose sequences it has all.

    See :class:`GliomaSegLib.inference.segmenter.Segmenter`.
    """

    def __init__(self, segmenters: Mapping[tuple[case.Input, ...], Segmenter]) -> None:
        self._segmenters = segmenters

    def predict(self, images: Mapping[case.Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case.

        Raises:
            InputError: there is no set for it; and as the set's own segmenter.
        """
        for order, segmenter in self._segmenters.items():
            if all(sequence in images for sequence in order):
                return segmenter.predict({sequence: images[sequence] for sequence in order}, progress, seed)
        have = ", ".join(sequence.title for sequence in images)
        raise InputError(f"The model has no network for {have or 'no image'} alone; give more sequences.")


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    if device.type == "mps":
        return network.to(device)
    return network.to(device, memory_format=torch.channels_last_3d)


def stacked(images: Mapping[case.Input, Array], order: Sequence[case.Input]) -> Array:
    """The images as channels in ``order``, ``float32 [channel, z, y, x]``; a missing one is 0 throughout.

    Raises:
        InputError: there is none, they are not of one shape, or one is empty.
    """
    given = {sequence: images[sequence] for sequence in order if sequence in images}
    if not given:
        raise InputError(f"The case has none of {', '.join(sequence.title for sequence in order)}; give at least one.")
    if len({image.shape for image in given.values()}) > 1:
        raise InputError("The sequences are not on one grid; resample them to the same voxels first.")
    for sequence, image in given.items():
        if not image.any():
            raise InputError(
                f"The {sequence.title} image is empty (all zero); check the file, or leave it out with "
                f"--without {sequence.value}."
            )
    stack = np.zeros((len(order), *next(iter(given.values())).shape), np.float32)
    for channel, sequence in enumerate(order):
        if sequence in given:
            stack[channel] = given[sequence]
    return stack


def measured_box(stack: Array, margin: int = 0) -> Box:
    """The box (z, y, x) of the voxels that are not 0 in every channel, ``margin`` voxels wider.

    Raises:
        InputError: there are none.
    """
    measured = stack.any(axis=0)
    if not measured.any():
        raise InputError("The images are empty (all zero); check the files.")
    return bounding_box(measured, margin)


def whole_box(stack: Array) -> Box:
    """The box (z, y, x) of all voxels."""
    depth, height, width = stack.shape[1:]
    return slice(0, depth), slice(0, height), slice(0, width)


def uncropped(values: NDArray, box: Box, shape: Sequence[int]) -> NDArray:
    """``values [z, y, x]`` at their place in a volume of ``shape``, which is 0 elsewhere."""
    full = np.zeros(shape, dtype=values.dtype)
    full[box] = values
    return full
