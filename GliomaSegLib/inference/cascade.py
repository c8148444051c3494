"""A cascade of slice networks: whole tumour, then its core, then its enhancing part, each in the box of the one before.

The cascade, the fusion of three planes and the post-processing between stages are those of CA-CNN (Wang et al. 2017,
arXiv:1709.00382 and the published test code), for any networks that see stacks of slices.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.case import Input, Modality
from GliomaSegLib.inference.segmenter import Prediction
from GliomaSegLib.inference.slices import Plane, SliceWindows, StackModel, predict_stacks
from GliomaSegLib.inference.volume import stacked
from GliomaSegLib.label_maps import compose
from GliomaSegLib.labels import Region
from GliomaSegLib.postprocessing import close_gaps, keep_components_above, keep_components_inside, keep_largest_two
from GliomaSegLib.preprocessing.cropping import Box, bounding_box, uncropped
from GliomaSegLib.preprocessing.normalisation import fill_with_noise, z_score
from GliomaSegLib.progress import Progress

# The image whose non-zero voxels are the brain, in order of preference: FLAIR shows the whole tumour.
BRAIN_ORDER = (Modality.T2F, Modality.T1C, Modality.T2W, Modality.T1N)

BOX_MARGIN_VOXELS = 5
LEAST_TUMOUR_VOXELS = 2000
LEAST_ENHANCING_VOXELS = 30

# Fraction of each stage in the time of a run, for the progress bar.
_SHARE = {Region.WT: (0.0, 0.6), Region.TC: (0.6, 0.75), Region.ET: (0.75, 1.0)}


@dataclass(frozen=True)
class PlaneModel:
    """The network of a stage for one plane, and its windows."""

    model: StackModel
    windows: SliceWindows


Stage = Mapping[Plane, PlaneModel]


@dataclass(frozen=True)
class NormalisedCase:
    """The network's input.

    Attributes:
        channels: ``float32 [channel, z, y, x]``, normalised; a missing modality is 0 everywhere.
        noisy: per channel whether its padding is noise, like its background, or 0.
        brain: ``bool [z, y, x]``.
    """

    channels: NDArray[np.float32]
    noisy: tuple[bool, ...]
    brain: NDArray[np.bool_]

    def crop(self, box: Box) -> NormalisedCase:
        """The part inside a box (a view)."""
        return NormalisedCase(self.channels[(slice(None), *box)], self.noisy, self.brain[box])


Scale = Callable[[NDArray[np.float32], str, np.random.Generator], NDArray[np.float32]]


def with_noise(image: NDArray[np.float32], name: str, generator: np.random.Generator) -> NDArray[np.float32]:
    """CA-CNN's normalisation of an image ``[z, y, x]``: z-scores of non-zero voxels, standard normal noise
    elsewhere."""
    return fill_with_noise(z_score(image, name), image == 0, generator)


class SliceCascade:
    """A segmenter of one to three stages of slice networks. See :class:`GliomaSegLib.inference.segmenter.Segmenter`.

    Args:
        order: the modalities in channel order.
        stages: the networks per region: WT, and optionally TC and ET.
        session: context manager around all inference of a case; its arguments are the WT stage, which needs most
            memory, the shape (z, y, x) of its volume and the progress; it reserves memory, and returns device and
            precision.
        scale: normalises an image inside the box of the brain; also gets its name and a random generator.
        noisy: whether normalised images, and so their padding, have noise as background.
    """

    def __init__(
        self,
        order: tuple[Modality, ...],
        stages: Mapping[Region, Stage],
        session: Callable[[Stage, tuple[int, int, int], Progress], AbstractContextManager[tuple[str, str]]],
        scale: Scale = with_noise,
        noisy: bool = True,
    ) -> None:
        self._order, self._scale, self._noisy = order, scale, noisy
        self._stages = stages
        self._session = session

    def predict(self, images: Mapping[Input, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """Segment one case; without T1c only the whole tumour, labelled SNFH."""
        box, case = self._case(images, seed)
        with self._session(self._stages[Region.WT], case.brain.shape, progress) as (device, precision):
            probabilities = self._probabilities(case, Modality.T1C in images, progress, seed)
        labels = assemble(probabilities, case.brain)
        progress.advance(1.0)
        shape = next(iter(images.values())).shape
        return Prediction(labels, probabilities, device, precision).in_volume(box, shape)

    def parts(
        self, images: Mapping[Modality, NDArray[np.float32]], tumour: NDArray[np.bool_], progress: Progress, seed: int
    ) -> dict[Region, NDArray[np.float32]]:
        """Probabilities of TC and ET inside a known tumour, ``float32 [z, y, x]``, 0 outside its box.

        Arguments and errors as for :meth:`predict`; needs T1c.
        """
        box, case = self._case(images, seed)
        with self._session(self._stages[Region.WT], case.brain.shape, progress):
            parts = self._parts(tumour[box], case, progress, seed)
        return {region: uncropped(probability, box, tumour.shape) for region, probability in parts.items()}

    def _case(self, images: Mapping[Any, NDArray[np.float32]], seed: int) -> tuple[Box, NormalisedCase]:
        """The box of the brain, and the normalised images inside it."""
        stack = stacked(images, self._order)
        shows_brain = next(sequence for sequence in BRAIN_ORDER if sequence in images)
        whole = stack[self._order.index(shows_brain)] != 0
        box, generator = bounding_box(whole, BOX_MARGIN_VOXELS), np.random.default_rng(seed)
        channels = stack[(slice(None), *box)]
        for channel, sequence in zip(channels, self._order, strict=True):
            if sequence in images:
                channel[:] = self._scale(channel, sequence.title, generator)
        noisy = tuple(self._noisy and sequence in images for sequence in self._order)
        return box, NormalisedCase(channels, noisy, whole[box])

    def _probabilities(
        self, case: NormalisedCase, with_core: bool, progress: Progress, seed: int
    ) -> dict[Region, NDArray[np.float32]]:
        """Per region the probability, averaged over planes, ``float32 [z, y, x]``; 0 outside the region's box."""
        whole = self._fused(Region.WT, case, progress, seed)
        probabilities = {Region.WT: whole}
        if not with_core or Region.TC not in self._stages:
            return probabilities
        tumour = keep_components_above(close_gaps((whole > 0.5) & case.brain), LEAST_TUMOUR_VOXELS)
        return probabilities | self._parts(tumour, case, progress, seed)

    def _parts(
        self, tumour: NDArray[np.bool_], case: NormalisedCase, progress: Progress, seed: int
    ) -> dict[Region, NDArray[np.float32]]:
        """As :meth:`_probabilities`, for core and enhancing tumour in the box of ``tumour``."""
        probabilities = {region: np.zeros(tumour.shape, np.float32) for region in (Region.TC, Region.ET)}
        if not tumour.any():  # a core outside every tumour would be dropped in the end
            return probabilities
        tumour_box = bounding_box(tumour, BOX_MARGIN_VOXELS)
        inside = case.crop(tumour_box)
        core = probabilities[Region.TC][tumour_box]
        core[:] = self._fused(Region.TC, inside, progress, seed)
        found = keep_largest_two(close_gaps((core > 0.5) & inside.brain))
        core_box = bounding_box(found if found.any() else np.ones_like(found), BOX_MARGIN_VOXELS)
        enhancing = probabilities[Region.ET][tumour_box]
        enhancing[core_box] = self._fused(Region.ET, inside.crop(core_box), progress, seed)
        return probabilities

    def _fused(self, region: Region, case: NormalisedCase, progress: Progress, seed: int) -> NDArray[np.float32]:
        """Mean probability of the stage's planes."""
        stage = self._stages[region]
        total = sum(len(part.windows.groups(plane.turned_shape(case.brain.shape)[0])) for plane, part in stage.items())
        begin, end = _SHARE[region]
        done = 0
        fused = np.zeros(case.brain.shape, dtype=np.float32)
        for plane, part in stage.items():

            def batch_done(plane: Plane = plane) -> None:
                nonlocal done
                done += 1
                progress.advance(begin + (end - begin) * done / total, f"{region.value}, {plane.value} view")

            # One generator per stage and plane, so that the result of one stage does not change the noise of another.
            generator = np.random.default_rng([seed, list(Region).index(region), list(Plane).index(plane)])
            turned = plane.turn(case.channels)
            probability = predict_stacks(part.model, part.windows, turned, case.noisy, generator, batch_done)
            fused += plane.turn_back(probability) / len(stage)
        return fused


def assemble(probabilities: Mapping[Region, NDArray[np.float32]], brain: NDArray[np.bool_]) -> NDArray[np.uint8]:
    """Combine probabilities to an internal label map, with the postprocessing of CA-CNN.

    Small tumour components and core components outside the tumour are dropped, enhancing tumour is added to the core,
    core to the tumour, and fewer than 30 enhancing voxels are removed.
    """
    masks = {region: (probability > 0.5) & brain for region, probability in probabilities.items()}
    if Region.TC not in masks:
        return compose(masks[Region.WT] & _cleaned_tumour(masks[Region.WT]))
    core = masks[Region.TC] | masks[Region.ET]
    support = _cleaned_tumour(masks[Region.WT] | core)
    whole = masks[Region.WT] & support
    core = keep_largest_two(keep_components_inside(close_gaps(core & support), whole))
    enhancing = masks[Region.ET] & core
    if np.count_nonzero(enhancing) < LEAST_ENHANCING_VOXELS:
        enhancing[:] = False
    return compose(whole | core, core, enhancing)


def _cleaned_tumour(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return keep_components_above(close_gaps(mask), LEAST_TUMOUR_VOXELS)
