"""The network's view of an image: robust z-scores inside the brain, exactly 0 where nothing was measured."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.preprocessing.intensity import z_score

# Quantiles to which the measured voxels are clipped first: a few saturated voxels or a vessel must not set the scale.
CLIP = (0.001, 0.999)

# Every value is measured on so many voxels at most: quantiles of millions of voxels take longer than they are worth.
_SAMPLE = 200_000


def standardise(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Clip the non-zero voxels to the quantiles ``CLIP`` and scale them to mean 0 and standard deviation 1.

    Zeros stay exactly zero, and no other voxel becomes zero by accident of more than rounding.

    Args:
        image: array of any shape, arbitrary units.
        name: how an error message calls the image.

    Raises:
        InputError: there is no contrast to scale by.
    """
    measured = image[image != 0]
    if measured.size == 0:
        return z_score(image, name)  # which says what is wrong
    step = max(1, measured.size // _SAMPLE)
    low, high = np.quantile(measured[::step], CLIP)
    clipped = np.clip(image, low, high)
    clipped[image == 0] = 0
    return z_score(clipped, name)
