"""Volume networks of any family: images -> normalised channels -> windows -> logits -> probabilities -> labels.

An :class:`InferenceSpec` defines the pre- and postprocessing of a family; windows, averaging of folds and mirrored
views, the choice of device and precision, and the fallbacks when memory is short are common to all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.device import choose_precision, free_memory_bytes, place
from GliomaSegLib.inference.memory import peak_bytes
from GliomaSegLib.inference.outputs import Answer, Array
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.windows import Size, Windows, mirrored, slide
from GliomaSegLib.networks.memory_format import channels_last
from GliomaSegLib.preprocessing.cropping import Box, bounding_box
from GliomaSegLib.progress import Progress

# On a CPU, windows are made small enough to need no more than this, even if more is free.
_PROCESSOR_BYTES = 4_000_000_000


def unchanged(labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """No post-processing."""
    return labels


@dataclass(frozen=True)
class InferenceSpec:
    """The pre- and postprocessing of a family.

    Attributes:
        order: the modalities in channel order.
        prepare: maps images ``float32 [channel, z, y, x]`` (a missing modality is 0) to normalised channels inside a
            box, and the box. May raise ``InputError``.
        windows: the sliding windows.
        activate: maps logits ``[class, ...]`` to probabilities.
        answer: maps probabilities to labels and maps of regions.
        axes: which of z, y, x (0, 1, 2) each axis of the network is; ``(2, 1, 0)`` for networks trained on arrays in
            nibabel's order.
        flipped: the network's axes (0, 1, 2) that are reversed.
        finish: postprocessing of the model, on labels of the whole grid.
    """

    order: tuple[Modality, ...]
    prepare: Callable[[Array], tuple[Array, Box]]
    windows: Windows
    activate: Callable[[Tensor], Tensor]
    answer: Answer
    axes: tuple[int, int, int] = (0, 1, 2)
    flipped: tuple[int, ...] = ()
    finish: Callable[[NDArray[np.uint8]], NDArray[np.uint8]] = field(default=unchanged)


class VolumeSegmenter:
    """Networks for volumes. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        networks: one network, or several folds; in float32 on the CPU.
        spec: pre- and postprocessing.
        device, precision: for inference.
        needed_bytes: memory by window size; by default computed for the first network.
    """

    def __init__(
        self,
        networks: Sequence[nn.Module],
        spec: InferenceSpec,
        device: torch.device,
        precision: torch.dtype,
        needed_bytes: Callable[[Size, torch.dtype], int] | None = None,
    ) -> None:
        self._networks = [network.eval().requires_grad_(False) for network in networks]
        self._spec = spec
        self._device, self._precision = device, precision
        self._traced: dict[tuple[Size, torch.dtype], int] = {}
        self._needed_bytes = needed_bytes or self._traced_bytes

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case; deterministic."""
        stack = stacked(images, self._spec.order)
        channels, box = self._spec.prepare(stack)
        logits, device, precision = self._logits(self._turned(channels), progress)
        with torch.inference_mode():
            probabilities = self._turned_back(self._spec.activate(logits))
        labels, maps = self._spec.answer(probabilities)
        found = Prediction(labels, maps, str(device), str(precision).removeprefix("torch."))
        found = found.in_volume(box, stack.shape[1:])
        return replace(found, labels=self._spec.finish(found.labels))

    def _turned(self, channels: Array) -> Tensor:
        """Permute ``[channel, z, y, x]`` to the network's axes."""
        turned = channels.transpose(0, *(axis + 1 for axis in self._spec.axes))
        return torch.from_numpy(np.ascontiguousarray(np.flip(turned, tuple(axis + 1 for axis in self._spec.flipped))))

    def _turned_back(self, probabilities: Tensor) -> Array:
        """``[class, z, y, x]`` again."""
        found = np.flip(probabilities.numpy(), tuple(axis + 1 for axis in self._spec.flipped))
        return found.transpose(0, *(np.argsort(self._spec.axes) + 1))

    def _logits(self, volume: Tensor, progress: Progress) -> tuple[Tensor, torch.device, torch.dtype]:
        """The logits, and the device and precision that there was room for."""
        for attempt in self._attempts(self._spec.windows.fitted(volume.shape[1:]), progress):
            device = attempt.device
            free = free_memory_bytes(device) * 0.8
            batch = max(1, int(free // attempt.needed_bytes)) if device.type == "cuda" else 1
            try:
                networks = [_placed(network, device) for network in self._networks]
                answer = partial(
                    mean_logits,
                    networks,
                    views=((), *attempt.windows.mirrors),
                    device=device,
                    precision=attempt.precision,
                    batch=batch,
                )
                with torch.inference_mode():
                    return slide(answer, volume, attempt.windows, progress.advance), device, attempt.precision
            except torch.OutOfMemoryError:  # other programs use the GPU too; the next attempt needs less memory
                torch.cuda.empty_cache()
        raise InputError("The graphics card's memory ran out; run the network on the processor (--device cpu).")

    def _attempts(self, windows: Windows, progress: Progress) -> Iterator[_Attempt]:
        """Attempts, each with less memory than the one before. The last is on the CPU, and is refused if its memory is
        not sufficient."""
        if self._device.type == "cuda":
            smaller: Windows | None = windows
            while smaller is not None:
                needed = self._needed_bytes(smaller.shown, self._precision)
                if needed <= free_memory_bytes(self._device):
                    _warn_if_smaller(smaller, windows, progress)
                    yield _Attempt(self._device, self._precision, smaller, needed)
                smaller = smaller.smaller()
            progress.warn(
                "The graphics card has too little free memory for this case, so the network runs on the processor, "
                "which is slower."
            )
        home = self._device if self._device.type != "cuda" else torch.device("cpu")
        lowered = self._precision != torch.float32
        precision = choose_precision(home) if lowered and self._device.type == "cuda" else self._precision
        budget = min(free_memory_bytes(home), _PROCESSOR_BYTES)
        chosen = windows
        while (less := chosen.smaller()) and self._needed_bytes(chosen.shown, precision) > budget:
            chosen = less
        _warn_if_smaller(chosen, windows, progress)
        needed = self._needed_bytes(chosen.shown, precision)
        yield _Attempt(place(home, needed, progress), precision, chosen, needed)

    def _traced_bytes(self, window: Size, precision: torch.dtype) -> int:
        """Memory by window size, cached: the computation takes about a second."""
        if (window, precision) not in self._traced:
            shape = (len(self._spec.order), *window)
            self._traced[window, precision] = peak_bytes(self._networks[0], shape, precision)
        return self._traced[window, precision]


@dataclass(frozen=True)
class _Attempt:
    """Device, precision, windows and needed memory of an attempt."""

    device: torch.device
    precision: torch.dtype
    windows: Windows
    needed_bytes: int


def _warn_if_smaller(chosen: Windows, wanted: Windows, progress: Progress) -> None:
    if chosen is not wanted:
        progress.warn(
            "To fit into memory the network looks at smaller pieces of the image than it was made for "
            f"({chosen.size} instead of {wanted.size} voxels); its answer may be a little worse."
        )


def mean_logits(
    networks: Sequence[nn.Module],
    window: Tensor,
    views: Sequence[tuple[int, ...]],
    device: torch.device,
    precision: torch.dtype,
    batch: int = 1,
) -> Tensor:
    """Mean logits ``float32 [class, *window]`` of all networks and mirrored views, on the CPU.

    Args:
        networks: on ``device``; each maps ``[n, channel, *window]`` to ``[n, class, *window]``, or to its central part.
        window: ``float32 [channel, *window]``.
        views: the axes along which each view is mirrored.
        batch: number of views per batch.
    """
    seen = window.to(device)
    total: Tensor | None = None
    for network in networks:
        for first in range(0, len(views), batch):
            now = views[first : first + batch]
            shown = torch.stack([mirrored(seen, axes) for axes in now])
            if device.type != "mps":
                shown = shown.contiguous(memory_format=torch.channels_last_3d)
            with torch.autocast(device.type, precision, enabled=precision != torch.float32):
                answers = network(shown)
            for answer, axes in zip(answers, now, strict=True):
                turned = mirrored(answer.float(), axes)
                total = turned if total is None else total.add_(turned)
    if total is None:
        raise ValueError("there is no network")
    return (total / (len(networks) * len(views))).cpu()


def _placed(network: nn.Module, device: torch.device) -> nn.Module:
    placed = network.to(device)
    return placed if device.type == "mps" else channels_last(placed)  # for which the layout is not


def stacked(images: Mapping[Input, Array], order: Sequence[Input]) -> Array:
    """Stack images in ``order``, ``float32 [channel, z, y, x]``; a missing one is 0.

    Raises:
        InputError: see :func:`in_order`.
    """
    given = in_order(images, order)
    stack = np.zeros((len(order), *next(iter(given.values())).shape), np.float32)
    for channel, modality in enumerate(order):
        if modality in given:
            stack[channel] = given[modality]
    return stack


def in_order(images: Mapping[Input, Array], order: Sequence[Input]) -> dict[Input, Array]:
    """The images of the modalities in ``order``, sorted.

    Raises:
        InputError: there is none, their shapes differ, or one is empty.
    """
    given = {modality: images[modality] for modality in order if modality in images}
    if not given:
        raise InputError(f"The case has none of {', '.join(modality.title for modality in order)}; give at least one.")
    if len({image.shape for image in given.values()}) > 1:
        raise InputError("The sequences are not on one grid; resample them to the same voxels first.")
    for modality, image in given.items():
        if not image.any():
            raise InputError(
                f"The {modality.title} image is empty (all zero); check the file, or leave it out with "
                f"--without {modality.value}."
            )
    return given


def measured_box(stack: Array, margin: int = 0) -> Box:
    """The box (z, y, x) of voxels that are non-zero in any channel, ``margin`` voxels wider.

    Raises:
        InputError: all voxels are 0.
    """
    measured = np.any(stack, axis=0)
    if not measured.any():
        raise InputError("The images are empty (all zero); check the files.")
    return bounding_box(measured, margin)


def whole_box(stack: Array) -> Box:
    """The box (z, y, x) of all voxels."""
    depth, height, width = stack.shape[1:]
    return slice(0, depth), slice(0, height), slice(0, width)
