"""Histogram standardisation inside the brain: the landmarks of a set of training images, and an image moved to them.

Nyul LG, Udupa JK. On standardizing the MR image intensity scale. Magn Reson Med 42:1072-1081, 1999; in the way of
Eijgelaar 2020, who follows it by whitening and keeps what is 0 out of both, so that a missing sequence stays 0
throughout, which after whitening is the mean of the brain.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError
from GliomaSegLib.preprocessing.intensity import z_score
from GliomaSegLib.preprocessing.scaling import LANDMARK_PERCENTILES, standardise_histogram

Landmarks = tuple[float, ...]
"""One for each of :data:`~GliomaSegLib.preprocessing.scaling.LANDMARK_PERCENTILES`, on a scale of 0 to 100."""


def learn_landmarks(images: Iterable[NDArray[np.floating]]) -> Landmarks:
    """The mean landmarks of images of one sequence, each scaled so that its outermost ones are 0 and 100.

    Args:
        images: of any shape and scale, exactly 0 outside the brain.

    Raises:
        InputError: none of them has contrast.
    """
    found = []
    for image in images:
        measured = image[image != 0]
        if measured.size == 0:
            continue
        own = np.percentile(measured.astype(np.float64), LANDMARK_PERCENTILES)
        if own[-1] > own[0]:
            found.append((own - own[0]) / (own[-1] - own[0]) * 100)
    if not found:
        raise InputError("No landmarks can be learnt: none of the training images of a sequence has contrast.")
    return tuple(np.mean(found, axis=0).round(4).tolist())


def standardised_inside(
    image: NDArray[np.floating], landmarks: Landmarks, name: str = "the image"
) -> NDArray[np.float32]:
    """``image`` with its histogram moved to ``landmarks`` and whitened, over the voxels that are not 0; 0 stays 0.

    Args:
        name: how an error message calls the image.

    Raises:
        InputError: the image is empty or has no contrast.
    """
    measured = image != 0
    scaled = np.zeros(image.shape, np.float32)
    values = standardise_histogram(image[measured], landmarks).astype(np.float64) if measured.any() else np.zeros(0)
    if values.size == 0 or (deviation := values.std()) == 0:
        return z_score(image * 0, name)  # which says what is wrong
    scaled[measured] = (values - values.mean()) / deviation
    return scaled
