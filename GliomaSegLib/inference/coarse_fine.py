"""From the whole brain at low resolution to its tumour at full resolution, with any subset of the sequences.

The coarse network sees the whole brain, laid so that its two halves are mirror images; the fine one looks at the box
around what was found, at the card's own spacing. Where both have looked, the log-odds of their answers are averaged:
the coarse one knows better where tumour is, the fine one which part of it a voxel belongs to, and who is sure counts
for more than who is not.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.device import choose_precision, place
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.training_features import TrainingFeatures
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import bounding_box, keep_components_above
from GliomaSegLib.preprocessing.midsagittal import Pose, find_midsagittal
from GliomaSegLib.preprocessing.normalisation import standardise
from GliomaSegLib.preprocessing.torch_resampling import averaged, first_centre_mm, resample
from GliomaSegLib.progress import Progress

Box = tuple[slice, slice, slice]

REGIONS = (Region.WT, Region.TC, Region.ET)

_SUSPICIOUS = 0.2  # what the coarse network finds this likely is looked at closely
_FRAME_MARGIN_MM = 8.0  # of the frame around the brain
_MULTIPLE = 8  # of the voxels of what a network sees, per axis
_OVERLAP = 0.25  # of neighbouring windows
_LEAST_DOUBT = 1e-3  # of either stage: none is so sure that the other cannot be heard
_BYTES_PER_VOXEL = 400  # of a network's activations per voxel of its window, measured
_BASE_BYTES = 600 << 20


@dataclass(frozen=True)
class Stage:
    """A network and its lattice.

    Attributes:
        network: images ``[1, 4, z, y, x]`` to logits ``[1, 3, z, y, x]``, on the processor, in float32.
        spacing_mm: of the lattice.
        shape: z, y, x: for the coarse stage the least, for the fine one the most voxels that it is shown at once.
        mirrored: whether its answer is averaged with that to the mirrored image.
    """

    network: torch.nn.Module
    spacing_mm: float
    shape: tuple[int, int, int]
    mirrored: bool


class CoarseFine:
    """A segmenter of one or two stages. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        order: the sequences in channel order.
        coarse: the stage that sees the whole brain.
        fine: the stage that sees the tumour, at the spacing of the images; ``None`` to do without.
        spacing_mm: of the images.
        margin_mm: of the fine stage's box around what the coarse one suspects.
        fine_weights: of the fine stage's answer in that average, for WT, TC and ET.
        fine_weights_without_flair: the same where FLAIR is missing and the fine stage, which does not see the other
            half of the brain, knows less of where a tumour ends.
        fine_weights_without_t2_and_flair: the same where both are missing; where all are 0 it does not look at all.
        least_enhancing_ml: less enhancing tumour than this in all is taken for core.
        device, precision: where and in which number format to run.
        trained_on: what the coarse network makes of its training cases, where that is known: the answer then says how
            far the case is from them.
    """

    def __init__(
        self,
        order: tuple[Modality, ...],
        coarse: Stage,
        fine: Stage | None,
        spacing_mm: float,
        margin_mm: float,
        fine_weights: tuple[float, float, float],
        fine_weights_without_flair: tuple[float, float, float],
        fine_weights_without_t2_and_flair: tuple[float, float, float],
        least_enhancing_ml: float,
        least_tumour_ml: float,
        device: torch.device,
        precision: torch.dtype,
        trained_on: TrainingFeatures | None = None,
    ) -> None:
        self._order, self._coarse, self._fine = order, coarse, fine
        self._spacing, self._margin = spacing_mm, margin_mm
        self._fine_weights = (
            (Modality.T2F, fine_weights),
            (Modality.T2W, fine_weights_without_flair),
        )
        self._fine_weights_without_both = fine_weights_without_t2_and_flair
        self._least_enhancing, self._least_tumour = least_enhancing_ml, least_tumour_ml
        self._device, self._precision = device, precision
        self._trained_on = trained_on

    def predict(self, images: Mapping[Modality, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """Segment one case; without T1c only the whole tumour is given, all labelled SNFH. Nothing here is random.

        Raises:
            InputError: no image, images of different shapes, an empty or constant one, or too little memory.
        """
        channels, brain, box = self._channels(images)
        device = place(self._device, self._needed_bytes(brain.shape), progress)
        precision = self._precision if device == self._device else choose_precision(device)
        run = _Runner(device, precision)
        known = self._trained_on
        with torch.inference_mode():
            probability, features = self._look_at_all(channels, brain, run, known and known.layer)
            progress.advance(0.3, "whole brain")
            suspect = (probability.amax(0).numpy() > _SUSPICIOUS) & brain
            weights = torch.tensor(self._weights_for(images))[:, None, None, None]
            if self._fine is not None and suspect.any() and weights.any():
                closely = bounding_box(suspect, round(self._margin / self._spacing))
                fine = run.windows(self._fine, channels[(slice(None), *closely)], lambda done: _tell(progress, done))
                here = (slice(None), *closely)
                probability[here] = torch.lerp(_log_odds(probability[here]), _log_odds(fine), weights).sigmoid()
        progress.advance(1.0)
        regions = REGIONS if Modality.T1C in images else REGIONS[:1]
        found = dict(zip(regions, probability.numpy() * brain, strict=False))
        shape = next(iter(images.values())).shape
        return Prediction(
            _uncropped(self._labels(found), box, shape),
            {region: _uncropped(one, box, shape) for region, one in found.items()},
            str(device),
            str(precision).removeprefix("torch."),
            None if known is None else known.distance(features, tuple(images)),
        )

    def features(self, images: Mapping[Modality, NDArray[np.float32]], layer: str) -> NDArray[np.float64]:
        """The means ``[maps]`` over the brain of the coarse network's ``layer``, for a case as in :meth:`predict`.

        Raises:
            InputError: see :meth:`predict`.
        """
        channels, brain, _ = self._channels(images)
        with torch.inference_mode():
            return self._look_at_all(channels, brain, _Runner(self._device, self._precision), layer)[1]

    def _weights_for(self, images: Mapping[Modality, NDArray[np.float32]]) -> tuple[float, float, float]:
        """Of the fine stage, by the first of FLAIR and T2 that is there."""
        there = (weights for sequence, weights in self._fine_weights if sequence in images)
        return next(there, self._fine_weights_without_both)

    def _channels(self, images: Mapping[Modality, NDArray[np.float32]]) -> tuple[Tensor, NDArray[np.bool_], Box]:
        """Standardised channels and brain mask, cropped to the brain, and where they were cropped."""
        given = {sequence: images[sequence] for sequence in self._order if sequence in images}
        if not given:
            raise InputError("The case has no sequence; give at least one of T1, T1c, T2 or FLAIR.")
        if len({image.shape for image in given.values()}) > 1:
            raise InputError("The sequences are not on one grid; resample them to the same voxels first.")
        brain = np.any([image != 0 for image in given.values()], axis=0)
        if not brain.any():
            raise InputError("The images are empty (all zero); check the files.")
        box = bounding_box(brain, 2)
        channels = np.zeros((len(self._order), *brain[box].shape), np.float32)
        for sequence, image in given.items():
            channels[self._order.index(sequence)] = standardise(image, f"{sequence.title} (--{sequence.value})")[box]
        return torch.from_numpy(channels), brain[box], box

    def _look_at_all(
        self, channels: Tensor, brain: NDArray[np.bool_], run: _Runner, layer: str | None
    ) -> tuple[Tensor, NDArray[np.float64] | None]:
        """The coarse stage's probabilities ``[3, z, y, x]`` on the images' own voxels, and the :meth:`features`."""
        spacing = (self._spacing,) * 3
        pose = find_midsagittal(channels.numpy(), brain, spacing)
        shape = _frame_shape(brain, pose, self._spacing, self._coarse)
        factors = [max(1, round(self._coarse.spacing_mm / self._spacing))] * 3
        volume = averaged(torch.cat([channels, torch.from_numpy(brain)[None].float()]), factors)
        coarse_spacing, first = self._spacing * np.array(factors), first_centre_mm(spacing, factors)
        step = self._coarse.spacing_mm
        seen = resample(volume, coarse_spacing, shape, step, pose.centre - first, pose.rotation)
        with _means_over(seen[-1:], self._coarse, layer) as means:
            found = run.whole(self._coarse, seen[:-1] * (seen[-1:] > 0.5))
        # Back: the middle of the images as seen from the frame, whose first voxel is half its extent from its centre.
        middle = (np.array(brain.shape) - 1) / 2 * self._spacing
        there = pose.rotation.T @ (middle - pose.centre) + (np.array(shape) - 1) / 2 * step
        probability = resample(found, np.full(3, step), brain.shape, self._spacing, there, pose.rotation.T)
        return probability, np.mean(means, axis=0) if means else None

    def _labels(self, probabilities: Mapping[Region, NDArray[np.float32]]) -> NDArray[np.uint8]:
        voxel_ml = self._spacing**3 / 1000
        masks = {region: probability > 0.5 for region, probability in probabilities.items()}
        whole = masks[Region.WT]
        if whole.any():
            whole = keep_components_above(whole, round(self._least_tumour / voxel_ml))
        if Region.TC not in masks:
            return compose(whole)
        enhancing = masks[Region.ET] & whole
        core = (masks[Region.TC] | enhancing) & whole
        if np.count_nonzero(enhancing) * voxel_ml < self._least_enhancing:
            enhancing[:] = False
        return compose(whole, core, enhancing)

    def _needed_bytes(self, shape: tuple[int, ...]) -> int:
        windows = [int(np.prod(stage.shape)) for stage in (self._coarse, self._fine) if stage is not None]
        return _BASE_BYTES + _BYTES_PER_VOXEL * max(windows) + 60 * int(np.prod(shape))


class _Runner:
    """Runs networks in one place and precision."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self._device, self._precision = device, precision

    def whole(self, stage: Stage, images: Tensor) -> Tensor:
        """Probabilities ``[3, z, y, x]`` for ``[4, z, y, x]``, at once."""
        stage.network.to(self._device)
        seen = images[None].to(self._device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            found = stage.network(seen).float().sigmoid()
            if stage.mirrored:
                found = (found + stage.network(seen.flip(-1)).float().sigmoid().flip(-1)) / 2
        return found[0].cpu()

    def windows(self, stage: Stage, images: Tensor, told: Callable[[float], None]) -> Tensor:
        """The same for images of any size, in overlapping windows of the stage's shape at most."""
        extent = images.shape[1:]
        sizes = [min(most, -(-size // _MULTIPLE) * _MULTIPLE) for size, most in zip(extent, stage.shape, strict=True)]
        padding = [max(size - own, 0) for size, own in zip(sizes, extent, strict=True)]
        padded = functional.pad(images, (0, padding[2], 0, padding[1], 0, padding[0]))
        starts = [_starts(size, window) for size, window in zip(padded.shape[1:], sizes, strict=True)]
        weight = _tent(sizes)
        total = torch.zeros((len(REGIONS), *padded.shape[1:]))
        weights = torch.zeros(padded.shape[1:])
        places = list(itertools.product(*starts))
        for done, first in enumerate(places):
            here = tuple(slice(start, start + size) for start, size in zip(first, sizes, strict=True))
            total[(slice(None), *here)] += weight * self.whole(stage, padded[(slice(None), *here)])
            weights[here] += weight
            told((done + 1) / len(places))
        return (total / weights)[:, : extent[0], : extent[1], : extent[2]]


@contextmanager
def _means_over(brain: Tensor, stage: Stage, layer: str | None) -> Iterator[list[NDArray[np.float64]]]:
    """Collects, for every pass of the stage's network inside the block, the means of the layer's maps over the brain.

    Args:
        brain: ``[1, z, y, x]`` on the stage's lattice, 0 to 1.
        layer: ``None`` collects nothing.
    """
    means: list[NDArray[np.float64]] = []
    if layer is None:
        yield means
        return
    # The mirrored pass sees the brain from the other side, and one weight must do for both.
    weight = (brain + brain.flip(-1)) / 2 if stage.mirrored else brain

    def collect(_: torch.nn.Module, __: tuple[Tensor, ...], maps: Tensor) -> None:
        own = functional.adaptive_avg_pool3d(weight[None], maps.shape[2:]).to(maps.device)
        mean = (maps.float() * own).sum((2, 3, 4)) / own.sum()
        means.append(mean[0].cpu().double().numpy())

    hook = stage.network.get_submodule(layer).register_forward_hook(collect)
    try:
        yield means
    finally:
        hook.remove()


def _log_odds(probability: Tensor) -> Tensor:
    return probability.logit(_LEAST_DOUBT)


def _tell(progress: Progress, done: float) -> None:
    progress.advance(0.3 + 0.7 * done, "around the tumour")


def _starts(size: int, window: int) -> list[int]:
    """Where windows begin so that neighbours overlap by ``_OVERLAP`` at least and the last one ends with the volume."""
    count = 1 + max(0, -(-(size - window) // int(window * (1 - _OVERLAP))))
    return [round(place) for place in np.linspace(0, size - window, count)]


def _tent(sizes: list[int]) -> Tensor:
    """Weights that fall towards a window's faces, where the network sees least, and are nowhere 0."""
    slopes = [torch.minimum(torch.arange(n), torch.arange(n).flip(0)).add(1).float() / n for n in sizes]
    return slopes[0][:, None, None] * slopes[1][:, None] * slopes[2]


def _frame_shape(brain: NDArray[np.bool_], pose: Pose, spacing_mm: float, stage: Stage) -> tuple[int, int, int]:
    """The stage's own shape, larger where the brain would not fit."""
    places = np.argwhere(brain[::4, ::4, ::4]) * 4 * spacing_mm
    reach = np.abs((places - pose.centre) @ pose.rotation).max(axis=0) + _FRAME_MARGIN_MM / 2
    needed = np.ceil(2 * reach / stage.spacing_mm / _MULTIPLE).astype(int) * _MULTIPLE
    z, y, x = (max(int(least), int(own)) for least, own in zip(stage.shape, needed, strict=True))
    return z, y, x


def _uncropped(values: NDArray, box: Box, shape: tuple[int, ...]) -> NDArray:
    full = np.zeros(shape, dtype=values.dtype)
    full[box] = values
    return full
