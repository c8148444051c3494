"""What every model of the zoo can do, whatever its network: images in, labels out."""

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
        device: where the network ran, which may not be where it was asked to; empty when there is no choice.
        precision: number format that it ran in, such as ``bfloat16``; empty likewise.
        training_distance: of the case to those that the model was trained on; ``None`` where it cannot tell.
    """

    labels: NDArray[np.uint8]
    probabilities: Mapping[Region, NDArray[np.float32]] = field(default_factory=dict)
    device: str = ""
    precision: str = ""
    training_distance: TrainingDistance | None = None

    def in_volume(self, box: Box, shape: tuple[int, ...]) -> Prediction:
        """What was predicted inside ``box`` of a volume of ``shape`` (z, y, x), on all of it: background outside."""
        maps = {region: uncropped(values, box, shape) for region, values in self.probabilities.items()}
        return replace(self, labels=uncropped(self.labels, box, shape), probabilities=maps)


class Segmenter(Protocol):
    """A loaded model, ready to be used for case after case."""

    def predict(self, images: Mapping[Input, NDArray[np.float32]], progress: Progress, seed: int) -> Prediction:
        """Segment one case.

        Args:
            images: per present sequence an array ``[z, y, x]`` on the grid that the card asks for (spacing,
                orientation), all of one shape, skull-stripped (exactly 0 outside the brain) when the card asks for
                it, otherwise not normalised. Missing sequences are simply not there. A model that takes the study
                before surgery finds it under :class:`~GliomaSegLib.case.Preoperative`, the tumour as 0 and 1.
            progress: given the fraction done; may raise ``Cancelled``.
            seed: of any random numbers that the model's contract needs, drawn on the CPU.

        Raises:
            InputError: no image, images of different shapes, an empty or constant one, or too little memory.
        """
        ...
