"""Resampling for networks that were trained on another grid: other voxels, or a frame on the mid-sagittal plane.

Images are normalised, averaged and interpolated as in training (:mod:`GliomaSegLib.training.sampling`), and exactly 0
outside the brain.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.inference.outputs import Answer, Array
from GliomaSegLib.inference.segmenter import Prediction, Segmenter
from GliomaSegLib.inference.volume import stacked
from GliomaSegLib.inference.windows import Size
from GliomaSegLib.preprocessing.common_space import common_space
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.preprocessing.midsagittal import find_midsagittal
from GliomaSegLib.preprocessing.torch_resampling import averaged, first_centre_mm, resample
from GliomaSegLib.progress import Progress

INSIDE = 0.5 - 1 / 510
"""Fraction of brain above which a voxel is brain: a half, as rounded in the masks of training."""

_MARGIN_VOXELS = 2  # around the brain, as prepared cases have it
# The modalities by similarity to the T1 template.
_REGISTERED_BY = (Modality.T1C, Modality.T1N, Modality.T2W, Modality.T2F)
_FRAME_MARGIN_MM = 4.0  # around the brain in a frame of its own


@dataclass(frozen=True)
class GridSpec:
    """The input grid of a network.

    Attributes:
        spacing_mm: voxel size along z, y and x.
        frame: smallest size (z, y, x) of a frame around the brain that is aligned with the mid-sagittal plane; ``None``
            for the axes of the images.
        multiple: the size of the frame is a multiple of these.
        common_space: whether the grid is that of the MNI152 template, to which the case is registered rigidly.
    """

    spacing_mm: tuple[float, float, float]
    frame: Size | None = None
    multiple: Size = (1, 1, 1)
    common_space: bool = False


class OnTrainingGrid:
    """Wraps a segmenter: images are resampled to the grid of its training, and its output back to theirs. See
    :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        inner: maps normalised images on the grid to probabilities of regions.
        order: its modalities in channel order.
        image_mm: voxel size of the images, z, y, x.
        scale: normalises the image of a modality; 0 remains 0.
        answer: maps probabilities of the regions to labels, on the grid of the images.
    """

    def __init__(
        self,
        inner: Segmenter,
        order: tuple[Modality, ...],
        grid: GridSpec,
        image_mm: tuple[float, float, float],
        scale: Callable[[Modality, Array], Array],
        answer: Answer,
    ) -> None:
        self._inner, self._order, self._grid = inner, order, grid
        self._image_mm, self._scale, self._answer = image_mm, scale, answer

    def predict(self, images: Mapping[Input, Array], progress: Progress, seed: int) -> Prediction:
        """Segment one case of stripped images."""
        stack = stacked(images, self._order)
        measured = (stack != 0).any(axis=0)
        box = bounding_box(measured, _MARGIN_VOXELS)
        brain = measured[box]
        channels = np.zeros((len(self._order), *brain.shape), np.float32)
        for number, sequence in enumerate(self._order):
            if sequence in images:
                channels[number] = self._scale(sequence, stack[number])[box]
        place = Placement.of(self._grid, channels, brain, self._image_mm, self._order)
        seen = place.seen(torch.from_numpy(np.concatenate([channels, brain[None]])))
        shown = (seen[:-1] * (seen[-1:] > INSIDE)).numpy()
        given: dict[Input, Array] = {one: shown[number] for number, one in enumerate(self._order) if one in images}
        found = self._inner.predict(given, progress, seed)
        answered = torch.from_numpy(np.stack(list(found.probabilities.values())))
        labels, maps = self._answer(place.back(answered).numpy() * brain)
        return Prediction(labels, maps, found.device, found.precision).in_volume(box, stack.shape[1:])


@dataclass(frozen=True)
class Placement:
    """A grid in a volume.

    Attributes:
        extent: size of the volume in voxels, z, y, x.
        image_mm, grid_mm: voxel sizes of volume and grid.
        shape: size of the grid in voxels.
        centre: centre of the grid in the volume, mm along its axes from the centre of its first voxel.
        rotation: ``[3, 3]``, maps directions of the grid to directions of the volume.
    """

    extent: tuple[int, ...]
    image_mm: NDArray[np.float64]
    grid_mm: NDArray[np.float64]
    shape: tuple[int, ...]
    centre: NDArray[np.float64]
    rotation: NDArray[np.float64]

    @classmethod
    def of(
        cls,
        spec: GridSpec,
        channels: Array,
        brain: NDArray[np.bool_],
        image_mm: tuple[float, float, float],
        order: tuple[Modality, ...] = tuple(Modality),
    ) -> Placement:
        """The grid for a case; ``channels [c, z, y, x]`` are normalised images, 0 if missing.

        Raises:
            InputError: it cannot be registered to the template.
        """
        edges, grid_mm = np.array(image_mm, float), np.array(spec.spacing_mm, float)
        middle = (np.array(brain.shape) - 1) / 2 * edges
        if spec.common_space:
            there = dict(zip(order, channels, strict=True))
            best = next(there[one] for one in _REGISTERED_BY if one in there and there[one].any())
            pose, extent_mm = common_space(best, image_mm)
            shape = np.ceil(np.array(extent_mm) / grid_mm - 1e-6).astype(int)
            return cls(brain.shape, edges, grid_mm, tuple(map(int, shape)), pose.centre, pose.rotation)
        if spec.frame is None:
            shape = np.ceil(brain.shape * edges / grid_mm - 1e-6).astype(int)
            return cls(brain.shape, edges, grid_mm, tuple(map(int, shape)), middle, np.eye(3))
        pose = find_midsagittal(channels, brain, image_mm)
        places = np.argwhere(brain) * edges
        reach = np.abs((places - pose.centre) @ pose.rotation).max(axis=0) + _FRAME_MARGIN_MM
        needed = np.ceil(2 * reach / grid_mm / spec.multiple).astype(int) * spec.multiple
        shape = np.maximum(needed, spec.frame)
        return cls(brain.shape, edges, grid_mm, tuple(map(int, shape)), pose.centre, pose.rotation)

    @property
    def is_the_volumes_own(self) -> bool:
        """Whether the grid is that of the volume."""
        return self.shape == tuple(self.extent) and np.array_equal(self.rotation, np.eye(3))

    def seen(self, volume: Tensor, nearest: bool = False) -> Tensor:
        """Resample ``volume [c, *extent]`` to the grid, 0 outside: averaged and interpolated, or ``nearest``
        neighbour."""
        if self.is_the_volumes_own:
            return volume
        factors = [max(1, round(wanted / own)) for wanted, own in zip(self.grid_mm, self.image_mm, strict=True)]
        if nearest:
            factors = [1, 1, 1]
        first = first_centre_mm(list(self.image_mm), factors)
        return resample(
            averaged(volume, factors),
            self.image_mm * factors,
            self.shape,
            self.grid_mm,
            self.centre - first,
            self.rotation,
            "nearest" if nearest else "bilinear",
        )

    def back(self, values: Tensor) -> Tensor:
        """Resample ``values [c, *shape]`` on the grid to the volume, 0 outside the grid."""
        if self.is_the_volumes_own:
            return values
        middle = (np.array(self.extent) - 1) / 2 * self.image_mm
        there = self.rotation.T @ (middle - self.centre) + (np.array(self.shape) - 1) / 2 * self.grid_mm
        return resample(values, self.grid_mm, self.extent, self.image_mm, there, self.rotation.T)
