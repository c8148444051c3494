"""Normalisations that published networks were trained with, beside the z-score of the measured voxels.

Each takes an image of any shape in arbitrary units and gives ``float32`` of the same shape; ``name`` is how an error
message calls the image.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError

# The quantiles, in percent, to which histogram standardisation's landmarks belong; the quartiles are listed with the
# landmarks and not used (as in torchio before version 2, with which such networks were trained).
LANDMARK_PERCENTILES = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
_UNUSED = (3, 9)
_LEAST_STEP = 1e-5


def between_percentiles(
    image: NDArray[np.floating], percentiles: tuple[float, float], clip: bool, name: str = "the image"
) -> NDArray[np.float32]:
    """The two percentiles of all voxels become 0 and 1; with ``clip`` nothing lies beyond.

    Raises:
        InputError: they are equal, so that there is nothing to scale by.
    """
    low, high = np.percentile(image, percentiles)
    if high <= low:
        raise _no_contrast(name)
    scaled = ((image - low) / (high - low)).astype(np.float32)
    return np.clip(scaled, 0, 1) if clip else scaled


def z_score_above_mean(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Mean 0 and (sample) standard deviation 1 of the voxels above the mean of all, which are those of the head.

    Raises:
        InputError: all voxels are equal.
    """
    values = image.astype(np.float64)
    head = values[values > values.mean()]
    if head.size < 2 or (deviation := head.std(ddof=1)) == 0:
        raise _no_contrast(name)
    return ((values - head.mean()) / deviation).astype(np.float32)


def standardise_histogram(image: NDArray[np.floating], landmarks: Sequence[float]) -> NDArray[np.float32]:
    """Move the image's quantiles to ``landmarks`` (one for each of ``LANDMARK_PERCENTILES``), linearly in between.

    What lies beyond the outermost quantiles continues the outermost lines. Nyul and Udupa, Magn Reson Med
    42:1072-1081, 1999.
    """
    used = [index for index in range(len(LANDMARK_PERCENTILES)) if index not in _UNUSED]
    own = np.percentile(image, LANDMARK_PERCENTILES)[used]
    wanted = np.asarray(landmarks, np.float64)[used]
    steps = np.diff(own)
    slopes = np.diff(wanted) / np.where(steps < _LEAST_STEP, np.inf, steps)  # a plateau maps to its lower landmark
    piece = np.digitize(image, own[1:-1])
    return (wanted[:-1][piece] + slopes[piece] * (image - own[:-1][piece])).astype(np.float32)


def _no_contrast(name: str) -> InputError:
    return InputError(
        f"{name} has no contrast and cannot be normalised; check the file, or leave the sequence out with --without."
    )
