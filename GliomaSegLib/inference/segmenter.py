"""The interface of all models of the zoo: images in, labels out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.case import Input
from GliomaSegLib.inference.training_distance import TrainingDistance
from GliomaSegLib.labels import Region
from GliomaSegLib.preprocessing.cropping import Box, uncropped
from GliomaSegLib.progress import Progress


@dataclass(frozen=True)
class Prediction:
    """A model's prediction on its own grid.

    Attributes:
        labels: ``uint8 [z, y, x]`` in the internal label scheme, after the model's own post-processing.
        probabilities: per region ``float32 [z, y, x]`` in 0..1, for models whose map may be thresholded again.
        device: on which the network ran (possibly not the requested one); empty if there is no choice.
        precision: number format of the network, such as ``bfloat16``; empty likewise.
        training_distance: of the case to the training cases; ``None`` if not known.
    """

    labels: NDArray[np.uint8]
    probabilities: Mapping[Region, NDArray[np.float32]] = field(default_factory=dict)
    device: str = ""
    precision: str = ""
    training_distance: TrainingDistance | None = None

    def in_volume(self, box: Box, shape: tuple[int, ...]) -> Prediction:
        """Pad a prediction inside ``box`` to the volume of ``shape`` (z, y, x), with background."""
        maps = {region: uncropped(values, box, shape) for region, values in self.probabilities.items()}
        return replace(self, labels=uncropped(self.labels, box, shape), probabilities=maps)


class Segmenter(Protocol):
    """A loaded model, for any number of cases."""

    def predict(self, images: Mapping[Input, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """Segment one case.

        Args:
            images: per present modality an array ``[z, y, x]`` on the grid of the card (spacing, orientation), all of
                one shape, not normalised, skull-stripped (exactly 0 outside the brain) if the card requires it.
                Pre-operative inputs have keys of :class:`~GliomaSegLib.case.Preoperative`; the tumour is 0 and 1.
            progress: receives the fraction done; may raise ``Cancelled``.
            seed: for random numbers of the model, generated on the CPU.

        Raises:
            InputError: no image, images of different shapes, an empty or constant one, or too little memory.
        """
        ...
