"""Pairs of label maps with known troubles: lesions that are missed, false, merged, tiny, or nowhere."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from GliomaSegLib.labels import Label

SHAPE = (40, 60, 56)
CASES = 10


def generated_pair(number: int) -> tuple[sitk.Image, sitk.Image]:
    """Prediction and reference, internal labels; the last case has voxels of 1 x 1 x 3 mm, the first has no lesion in
    its reference and the second none in its prediction."""
    random = np.random.default_rng(number)
    prediction, reference = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8)
    for lesion in range(3 + number):
        middle = np.array([random.integers(6, size - 6) for size in SHAPE])
        radius = int(random.integers(1, 9))
        if number != 0 and random.random() < 0.8:
            _paint(reference, middle, radius, random)
        if number != 1 and (random.random() < 0.7 or lesion == 0):
            _paint(prediction, middle + random.integers(-2, 3, 3), radius + int(random.integers(-1, 2)), random)
    return _image(prediction, number), _image(reference, number)


def _paint(labels: np.ndarray, middle: np.ndarray, radius: int, random: np.random.Generator) -> None:
    """A ball of edema with an enhancing ring and a dead middle, as far as it is large enough for these."""
    grid = np.indices(labels.shape).reshape(3, -1).T
    distance = np.linalg.norm((grid - middle) * [1, 1, random.choice([0.7, 1.0])], axis=1).reshape(labels.shape)
    for label, share in ((Label.SNFH, 1.0), (Label.ET, 0.7), (Label.NETC, 0.4)):
        labels[distance <= max(0, radius) * share] = label


def _image(labels: np.ndarray, number: int) -> sitk.Image:
    image = sitk.GetImageFromArray(labels)
    image.SetSpacing((1.0, 1.0, 3.0 if number == CASES - 1 else 1.0))
    return image
