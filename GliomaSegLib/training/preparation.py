"""Optional preprocessing of training cases: N4, the common space, histogram standardisation.

Eijgelaar 2020 used all three. Options and landmarks of a training are part of the model's card, since the model needs
the same preprocessing when it is used.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from pydantic import Field

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.inference.training_grid import GridSpec, Placement
from GliomaSegLib.preprocessing.cropping import bounding_box
from GliomaSegLib.preprocessing.normalisation import Landmarks, learn_landmarks, standardise_histogram_inside
from GliomaSegLib.record import Record
from GliomaSegLib.training.dataset import CHANNELS, TrainingCase, read_prepared

_COMMON = GridSpec((1.0, 1.0, 1.0), common_space=True)
_MARGIN_VOXELS = 2


class Preparation(Record):
    """The preprocessing options of a recipe."""

    bias_correction: bool = Field(default=False, description="N4 inside the brain, sequence by sequence")
    common_space: bool = Field(default=False, description="cases are registered rigidly to the MNI152 template")
    histogram: bool = Field(
        default=False,
        description="each sequence's histogram is moved to the mean landmarks of the training cases and whitened; what "
        "is 0, outside the brain and in a missing sequence, stays 0",
    )
    landmarks: dict[Modality, Landmarks] = Field(
        default_factory=dict,
        description="those of the histogram; where there are none they are learnt, and the run's own recipe has them",
    )

    def folder(self, cache: Path) -> Path:
        """The folder of cases with these options; independent of landmarks, which are applied after reading."""
        chosen = [name for name, on in (("n4", self.bias_correction), ("mni152", self.common_space)) if on]
        return cache / "-".join(chosen) if chosen else cache

    def learnt(self, paths: Sequence[Path]) -> Preparation:
        """The options with landmarks from the prepared training cases, if they are needed and not given.

        Raises:
            InputError: see :func:`learnt_landmarks`.
        """
        if not self.histogram or self.landmarks:
            return self
        return self.model_copy(update={"landmarks": learnt_landmarks(paths)})

    def changed(self, case: TrainingCase) -> TrainingCase:
        """Apply the landmarks, if there are any, to a prepared case.

        Raises:
            InputError: see :func:`with_landmarks`.
        """
        return with_landmarks(case, self.landmarks) if self.histogram else case


def in_common_space(case: TrainingCase) -> TrainingCase:
    """Resample a case to the grid of the template and crop it to the brain; labels by nearest neighbour.

    Raises:
        InputError: it cannot be registered to the template.
    """
    images = case.images.astype(np.float32)
    place = Placement.of(_COMMON, images, case.brain, case.spacing_mm, CHANNELS)
    brain = (place.seen(torch.from_numpy(case.brain[None].astype(np.float32)))[0] > 0.5).numpy()
    if not brain.any():
        raise InputError("its brain does not lie where that of the template is; check the geometry of its files.")
    seen = place.seen(torch.from_numpy(images)).numpy() * brain
    labels = place.seen(torch.from_numpy(case.labels[None].astype(np.float32)), nearest=True)[0].numpy()
    box = bounding_box(brain, _MARGIN_VOXELS)
    return dataclasses.replace(
        case,
        images=seen[(slice(None), *box)].astype(np.float16),
        brain=brain[box],
        labels=labels.round().astype(np.uint8)[box],
        spacing_mm=_COMMON.spacing_mm,
    )


def learnt_landmarks(paths: Sequence[Path]) -> dict[Modality, Landmarks]:
    """The mean landmarks of each modality of the prepared cases.

    Raises:
        InputError: a case cannot be read, or an image has no contrast.
    """
    measured: dict[Modality, list[Landmarks]] = {}
    for case in map(read_prepared, paths):
        for place in np.flatnonzero(case.present):
            measured.setdefault(CHANNELS[place], []).append(learn_landmarks([case.images[place]]))
    return {
        sequence: tuple(np.mean(measured[sequence], axis=0).round(4).tolist())
        for sequence in CHANNELS
        if sequence in measured
    }


def with_landmarks(case: TrainingCase, landmarks: Mapping[Modality, Landmarks]) -> TrainingCase:
    """Standardise the histogram of each image by the landmarks of its modality.

    Raises:
        InputError: a modality has no landmarks, or an image no contrast.
    """
    images = np.zeros_like(case.images)
    for place, sequence in enumerate(CHANNELS):
        if not case.present[place]:
            continue
        if sequence not in landmarks:
            raise InputError(
                f"Case '{case.name}' has {sequence.title}, which no training case has; leave that column of the case "
                "table empty."
            )
        image = case.images[place].astype(np.float32)
        images[place] = standardise_histogram_inside(image, landmarks[sequence], f"{case.name} {sequence.title}")
    return dataclasses.replace(case, images=images)
