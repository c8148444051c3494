"""Intensity normalisation. In every function a voxel of exactly 0 means 'nothing was measured here'."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.errors import InputError


def z_score(image: NDArray[np.floating], name: str = "the image") -> NDArray[np.float32]:
    """Scale the non-zero voxels to mean 0 and standard deviation 1; zeros stay zero.

    Args:
        image: array of any shape, arbitrary units.
        name: how an error message calls the image.

    Raises:
        InputError: fewer than two different non-zero values, so that there is nothing to scale.
    """
    measured = image != 0
    values = image[measured].astype(np.float64)
    if values.size == 0 or (deviation := values.std()) == 0:
        raise InputError(
            f"{name} is constant inside the brain and cannot be normalised; check the file, or leave the "
            "sequence out with --without."
        )
    scaled = np.zeros(image.shape, dtype=np.float32)
    scaled[measured] = (values - values.mean()) / deviation
    return scaled


def fill_with_noise(
    image: NDArray[np.float32], where: NDArray[np.bool_], generator: np.random.Generator
) -> NDArray[np.float32]:
    """A copy of ``image`` with standard normal noise in the voxels ``where`` (same shape) is true.

    Networks trained with noise as background (CA-CNN) take flat regions for something else.
    """
    filled = image.copy()
    filled[where] = generator.standard_normal(int(np.count_nonzero(where)), dtype=np.float32)
    return filled
