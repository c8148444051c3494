"""Intensity normalisation inside the brain (non-zero voxels) and of whole images.

Each function maps an image of any shape in arbitrary units to ``float32`` of the same shape; ``name`` is the name of
the image in error messages.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError

# Quantiles to which non-zero voxels are clipped first, so that saturated voxels and vessels do not set the scale.
CLIP = (0.001, 0.999)
# Quantiles are computed from a sample of at most this many voxels, to save time.
_SAMPLE = 200_000

# The percentiles of the landmarks for histogram standardisation; the quartiles are listed but not used (as in torchio
# before version 2, with which such networks were trained).
LANDMARK_PERCENTILES = (1, 10, 20, 25, 30, 40, 50, 60, 70, 75, 80, 90, 99)
_UNUSED = (3, 9)
_LEAST_STEP = 1e-5

Landmarks = tuple[float, ...]
"""One for each of :data:`LANDMARK_PERCENTILES`, on a scale of 0 to 100."""


# Inside the brain: non-zero voxels; zeros remain exactly 0.


def z_score(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Scale the non-zero voxels to mean 0 and standard deviation 1.

    Raises:
        InputError: there are fewer than two different non-zero values.
    """
    measured = image != 0
    scaled = np.zeros(image.shape, dtype=np.float32)
    scaled[measured] = _z_scored(image[measured], name)
    return scaled


def clipped_z_score(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Clip the non-zero voxels to the quantiles ``CLIP`` and scale them to mean 0 and standard deviation 1.

    Raises:
        InputError: the image has no contrast.
    """
    measured = image[image != 0]
    if measured.size == 0:
        raise _constant(name)
    low, high = np.quantile(measured[:: max(1, measured.size // _SAMPLE)], CLIP)
    clipped = np.clip(image, low, high)
    clipped[image == 0] = 0
    return z_score(clipped, name)


def fill_with_noise(
    image: NDArray[np.float32], where: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.float32]:
    """A copy of ``image`` with standard normal noise in the voxels of the mask ``where``.

    For networks that were trained with noise as background (CA-CNN).
    """
    filled = image.copy()
    filled[where] = generator.standard_normal(int(np.count_nonzero(where)), dtype=np.float32)
    return filled


def learn_landmarks(images: Iterable[NDArray[np.floating]]) -> Landmarks:
    """The mean landmarks of images of one modality, each scaled so that its outermost ones are 0 and 100.

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


def standardise_histogram_inside(
    image: NDArray[np.floating], landmarks: Landmarks, name: str = "the image"
) -> NDArray[np.float32]:
    """Standardise the histogram of the non-zero voxels to ``landmarks`` and whiten them.

    As in Eijgelaar 2020: zeros are excluded from both, so that a missing modality remains 0, the mean of the brain
    after whitening.

    Raises:
        InputError: the image is empty or has no contrast.
    """
    measured = image != 0
    if not measured.any():
        raise _constant(name)
    scaled = np.zeros(image.shape, np.float32)
    scaled[measured] = _z_scored(standardise_histogram(image[measured], landmarks), name)
    return scaled


# Of whole images, for published networks.


def between_percentiles(
    image: NDArray[np.floating],
    percentiles: tuple[float, float],
    clip: bool,
    name: str = "the image",
    measured: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Scale two percentiles to 0 and 1, with ``clip`` also limit the values to this range.

    Args:
        measured: the voxels whose percentiles they are, by default all.

    Raises:
        InputError: the percentiles are equal, or no voxel is measured.
    """
    values = image if measured is None else image[measured]
    low, high = np.percentile(values, percentiles) if values.size else (0.0, 0.0)
    if high <= low:
        raise _no_contrast(name)
    scaled = ((image - low) / (high - low)).astype(np.float32)
    return np.clip(scaled, 0, 1) if clip else scaled


def z_score_of_all(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Scale to mean 0 and standard deviation 1 of all voxels, background included.

    Raises:
        InputError: all voxels are equal.
    """
    values = image.astype(np.float64)
    if not (deviation := values.std()):
        raise _no_contrast(name)
    return ((values - values.mean()) / deviation).astype(np.float32)


def z_score_above_mean(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Scale to mean 0 and (sample) standard deviation 1 of the voxels above the mean, that is of the head.

    Raises:
        InputError: all voxels are equal.
    """
    values = image.astype(np.float64)
    head = values[values > values.mean()]
    if head.size < 2 or (deviation := head.std(ddof=1)) == 0:
        raise _no_contrast(name)
    return ((values - head.mean()) / deviation).astype(np.float32)


def standardise_histogram(image: NDArray[np.floating], landmarks: Sequence[float]) -> NDArray[np.float32]:
    """Map the image's quantiles to ``landmarks`` (one for each of ``LANDMARK_PERCENTILES``), linearly in between.

    Values beyond the outermost quantiles are extrapolated linearly. Nyul and Udupa, Magn Reson Med
    42:1072-1081, 1999.
    """
    used = [index for index in range(len(LANDMARK_PERCENTILES)) if index not in _UNUSED]
    own = np.percentile(image, LANDMARK_PERCENTILES)[used]
    wanted = np.asarray(landmarks, np.float64)[used]
    steps = np.diff(own)
    slopes = np.diff(wanted) / np.where(steps < _LEAST_STEP, np.inf, steps)  # a plateau maps to its lower landmark
    piece = np.digitize(image, own[1:-1])
    return (wanted[:-1][piece] + slopes[piece] * (image - own[:-1][piece])).astype(np.float32)


def _z_scored(values: NDArray[np.floating], name: str) -> NDArray[np.float64]:
    wide = values.astype(np.float64)
    if wide.size == 0 or (deviation := wide.std()) == 0:
        raise _constant(name)
    return (wide - wide.mean()) / deviation


def _constant(name: str) -> InputError:
    return InputError(
        f"{name} is constant inside the brain and cannot be normalised; check the file, or leave the "
        "sequence out with --without."
    )


def _no_contrast(name: str) -> InputError:
    return InputError(
        f"{name} has no contrast and cannot be normalised; check the file, or leave the sequence out with --without."
    )
