"""A synthetic case: normalised images, brain and labels on one grid."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from GliomaSegLib.labels import TUMOUR_REGIONS, Region

Volume = NDArray[np.float32]  # [z, y, x]


class Sample(NamedTuple):
    """One case on a grid of cubic voxels, axes [z, y, x] running towards S, P, L.

    Attributes:
        images: ``float32 [4, z, y, x]``: T1n, T1c, T2w, T2f, each with mean 0 and standard deviation 1 in the brain;
            exactly 0 outside it, and everywhere if the modality is missing.
        brain: ``bool``.
        labels: ``uint8``, internal scheme; if only WT is known, all of it is SNFH.
        known: the regions that ``labels`` has.
    """

    images: NDArray[np.float32]
    brain: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    known: tuple[Region, ...] = TUMOUR_REGIONS


def whitened(images: NDArray[np.floating], brain: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Normalise each image to mean 0 and standard deviation 1 in the brain, 0 outside; missing ones remain 0."""
    white = np.zeros(images.shape, np.float32)
    for image, out in zip(images, white, strict=True):
        values = image[brain].astype(np.float32)
        if values.size and (deviation := values.std()) > 0:
            out[brain] = (values - values.mean()) / deviation
    return white
