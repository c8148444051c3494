"""A coarse network for the whole brain and a fine one for the tumour, with any subset of the modalities.

The input of the coarse network is the whole brain at low resolution, aligned with the mid-sagittal plane; that of the
fine one is the box around the coarse result, at the card's spacing. Where both have an output, the log-odds of their
probabilities are averaged: the coarse network is better at detection, the fine one at the parts of the tumour, and in
log-odds the more certain one has more weight.
"""

from __future__ import annotations

from collections.abc import Container, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.inference.device import choose_precision, place
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.training_distance import TrainingFeatures
from GliomaSegLib.inference.volume import in_order
from GliomaSegLib.inference.windows import Size, Windows, balanced, even, slide, tent
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.postprocessing import keep_components_above
from GliomaSegLib.preprocessing.cropping import Box, bounding_box
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal
from GliomaSegLib.preprocessing.normalisation import clipped_z_score
from GliomaSegLib.preprocessing.pose import Pose
from GliomaSegLib.preprocessing.torch_resampling import averaged, first_centre_mm, resample
from GliomaSegLib.progress import Progress

_SUSPICIOUS = 0.2  # what the coarse network finds this likely is shown to the fine one
_FRAME_MARGIN_MM = 8.0  # of the frame around the brain
_MULTIPLE = 8  # of the voxels of what a network sees, per axis
_OVERLAP = 0.25  # of neighbouring windows
_LEAST_DOUBT = 1e-3  # of either stage: probabilities are clipped, so that neither outweighs the other wholly
_BYTES_PER_VOXEL = 400  # of a network's activations per voxel of its window, measured
_BASE_BYTES = 600 << 20


@dataclass(frozen=True)
class Stage:
    """A network and its grid.

    Attributes:
        network: maps images ``[1, 4, z, y, x]`` to logits ``[1, 3, z, y, x]``; on the CPU, in float32.
        spacing_mm: voxel size of the grid.
        shape: z, y, x: the smallest input of the coarse stage, or the usual window of the fine one (see
            :func:`~GliomaSegLib.inference.windows.balanced`).
        mirrored: whether the output is averaged with that of the mirrored image.
    """

    network: torch.nn.Module
    spacing_mm: float
    shape: Size
    mirrored: bool

    def windows(self, shape: Sequence[int]) -> Windows:
        """The sliding windows for a volume of ``shape``."""
        size = balanced(shape, self.shape, _OVERLAP, _MULTIPLE)
        return Windows(size, _OVERLAP, placing=even, importance=tent, pads_both_sides=False)


@dataclass(frozen=True)
class Stages:
    """The networks for one case.

    Attributes:
        coarse: the stage for the whole brain.
        fine: the stage for the tumour, at the spacing of the images; ``None`` for none.
    """

    coarse: Stage
    fine: Stage | None


class CoarseFine:
    """A segmenter of one or two stages. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        order: the modalities in channel order.
        stages: for cases with FLAIR.
        stages_without_flair: for cases without it; may be the same.
        spacing_mm: of the images.
        margin_mm: of the fine stage's box around the coarse result.
        fine_weights: weights of the fine stage's output in the average, for WT, TC and ET.
        fine_weights_without_flair: the same if FLAIR is missing: then the fine stage, which lacks the contralateral
            side, is worse at the border of a tumour.
        fine_weights_without_t2_and_flair: the same if both are missing; the fine stage is not run if all are 0.
        least_enhancing_ml: if all enhancing tumour together is smaller, it is labelled as core.
        least_tumour_ml: smaller components of the whole tumour are removed, except the largest component.
        device, precision: for inference.
        training_features: of the coarse network, if known: for the case's distance to the training cases.
    """

    def __init__(
        self,
        order: tuple[Modality, ...],
        stages: Stages,
        stages_without_flair: Stages,
        spacing_mm: float,
        margin_mm: float,
        fine_weights: tuple[float, float, float],
        fine_weights_without_flair: tuple[float, float, float],
        fine_weights_without_t2_and_flair: tuple[float, float, float],
        least_enhancing_ml: float,
        least_tumour_ml: float,
        device: torch.device,
        precision: torch.dtype,
        training_features: TrainingFeatures | None = None,
    ) -> None:
        self._order, self._stages, self._stages_without_flair = order, stages, stages_without_flair
        self._spacing, self._margin = spacing_mm, margin_mm
        self._fine_weights = ((Modality.T2F, fine_weights), (Modality.T2W, fine_weights_without_flair))
        self._fine_weights_without_both = fine_weights_without_t2_and_flair
        self._least_enhancing, self._least_tumour = least_enhancing_ml, least_tumour_ml
        self._device, self._precision = device, precision
        self._training_features = training_features

    def predict(self, images: Mapping[Input, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """Segment one case; without T1c only the whole tumour, labelled SNFH. Deterministic."""
        channels, brain, box = self._channels(images)
        stages = self._stages_for(images)
        device = place(self._device, _needed_bytes(stages, brain.shape), progress)
        precision = self._precision if device == self._device else choose_precision(device)
        run = _Runner(device, precision)
        known = self._training_features
        with torch.inference_mode():
            layer = known.layer if known else None
            probability, features = self._coarse_prediction(stages.coarse, channels, brain, run, layer)
            progress.advance(0.3, "whole brain")
            suspect = (probability.amax(0).numpy() > _SUSPICIOUS) & brain
            weights = torch.tensor(self._weights_for(images))[:, None, None, None]
            if stages.fine is not None and suspect.any() and weights.any():
                here = (slice(None), *bounding_box(suspect, round(self._margin / self._spacing)))
                seen = channels[here]
                windows = stages.fine.windows(seen.shape[1:])
                fine = slide(
                    partial(run.probabilities, stages.fine), seen, windows,
                    lambda done: progress.advance(0.3 + 0.7 * done, "around the tumour"),
                )  # fmt: skip
                probability[here] = torch.lerp(_log_odds(probability[here]), _log_odds(fine), weights).sigmoid()
        progress.advance(1.0)
        regions = TUMOUR_REGIONS if Modality.T1C in images else TUMOUR_REGIONS[:1]
        found = dict(zip(regions, probability.numpy() * brain, strict=False))
        shape = next(iter(images.values())).shape
        present = [modality for modality in self._order if modality in images]
        far = None if known is None or features is None else known.distance(features, present)
        kind = str(precision).removeprefix("torch.")
        return Prediction(self._labels(found), found, str(device), kind, far).in_volume(box, shape)

    def features(self, images: Mapping[Modality, NDArray[np.float32]], layer: str) -> NDArray[np.float64]:
        """The means ``[maps]`` of the coarse network's ``layer`` over the brain, for a case as in :meth:`predict`.

        Raises:
            InputError: see :meth:`predict`.
        """
        channels, brain, _ = self._channels(images)
        coarse, run = self._stages_for(images).coarse, _Runner(self._device, self._precision)
        with torch.inference_mode():
            found = self._coarse_prediction(coarse, channels, brain, run, layer)[1]
        return cast(NDArray[np.float64], found)  # a layer is named

    def _stages_for(self, images: Container[Input]) -> Stages:
        return self._stages if Modality.T2F in images else self._stages_without_flair

    def _weights_for(self, images: Container[Input]) -> tuple[float, float, float]:
        """Weights of the fine stage, by whether FLAIR and T2 are present."""
        there = (weights for sequence, weights in self._fine_weights if sequence in images)
        return next(there, self._fine_weights_without_both)

    def _channels(self, images: Mapping[Any, NDArray[np.float32]]) -> tuple[Tensor, NDArray[np.bool_], Box]:
        """Normalised channels and brain mask, cropped to the brain, and the box."""
        given = in_order(images, self._order)
        brain = np.logical_or.reduce([image != 0 for image in given.values()])
        box = bounding_box(brain, 2)
        channels = np.zeros((len(self._order), *brain[box].shape), np.float32)
        for channel, sequence in zip(channels, self._order, strict=True):
            if sequence in given:
                channel[:] = clipped_z_score(given[sequence][box], f"{sequence.title} (--{sequence.value})")
        return torch.from_numpy(channels), brain[box], box

    def _coarse_prediction(
        self, coarse: Stage, channels: Tensor, brain: NDArray[np.bool_], run: _Runner, layer: str | None
    ) -> tuple[Tensor, NDArray[np.float64] | None]:
        """The coarse stage's probabilities ``[3, z, y, x]`` on the grid of the images, and the :meth:`features`."""
        spacing = (self._spacing,) * 3
        pose = find_midsagittal(channels.numpy(), brain, spacing)
        shape = _frame_shape(brain, pose, self._spacing, coarse)
        factors = [max(1, round(coarse.spacing_mm / self._spacing))] * 3
        volume = averaged(torch.cat([channels, torch.from_numpy(brain)[None].float()]), factors)
        coarse_spacing, first = self._spacing * np.array(factors), first_centre_mm(spacing, factors)
        step = coarse.spacing_mm
        seen = resample(volume, coarse_spacing, shape, step, pose.centre - first, pose.rotation)
        with _means_over(seen[-1:], coarse, layer) as means:
            found = run.probabilities(coarse, seen[:-1] * (seen[-1:] > 0.5))
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


class _Runner:
    """Runs networks on one device in one precision."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self._device, self._precision = device, precision

    def probabilities(self, stage: Stage, images: Tensor) -> Tensor:
        """Probabilities of the regions ``[3, z, y, x]`` for images ``[4, z, y, x]``."""
        stage.network.to(self._device)
        seen = images[None].to(self._device).contiguous(memory_format=torch.channels_last_3d)
        with torch.autocast(self._device.type, self._precision, enabled=self._precision != torch.float32):
            found = stage.network(seen).float().sigmoid()
            if stage.mirrored:
                found = (found + stage.network(seen.flip(-1)).float().sigmoid().flip(-1)) / 2
        return found[0].cpu()


@contextmanager
def _means_over(brain: Tensor, stage: Stage, layer: str | None) -> Iterator[list[NDArray[np.float64]]]:
    """Collect the means of the layer's maps over the brain for every pass of the network in the block.

    Args:
        brain: ``[1, z, y, x]`` on the stage's grid, 0 to 1.
        layer: ``None`` collects nothing.
    """
    means: list[NDArray[np.float64]] = []
    if layer is None:
        yield means
        return
    # The same weights are used for the mirrored pass.
    weight = (brain + brain.flip(-1)) / 2 if stage.mirrored else brain

    def collect(_: torch.nn.Module, __: tuple[Tensor, ...], maps: Tensor) -> None:
        own = functional.adaptive_avg_pool3d(weight[None], cast(Any, maps.shape[2:])).to(maps.device)
        mean = (maps.float() * own).sum((2, 3, 4)) / own.sum()
        means.append(mean[0].cpu().double().numpy())

    hook = stage.network.get_submodule(layer).register_forward_hook(collect)
    try:
        yield means
    finally:
        hook.remove()


def _needed_bytes(stages: Stages, shape: tuple[int, ...]) -> int:
    windows = [int(np.prod(stage.shape)) for stage in (stages.coarse, stages.fine) if stage is not None]
    return _BASE_BYTES + _BYTES_PER_VOXEL * max(windows) + 60 * int(np.prod(shape))


def _log_odds(probability: Tensor) -> Tensor:
    return probability.logit(_LEAST_DOUBT)


def _frame_shape(brain: NDArray[np.bool_], pose: Pose, spacing_mm: float, stage: Stage) -> tuple[int, int, int]:
    """The shape of the stage, enlarged if the brain does not fit."""
    places = np.argwhere(brain[::4, ::4, ::4]) * 4 * spacing_mm
    reach = np.abs((places - pose.centre) @ pose.rotation).max(axis=0) + _FRAME_MARGIN_MM / 2
    needed = np.ceil(2 * reach / stage.spacing_mm / _MULTIPLE).astype(int) * _MULTIPLE
    z, y, x = (max(int(least), int(own)) for least, own in zip(stage.shape, needed, strict=True))
    return z, y, x
