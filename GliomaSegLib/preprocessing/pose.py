"""A coordinate frame in an array. NumPy only, without torch and SimpleITK."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pose:
    """A coordinate frame in an array, e.g. with the mid-sagittal plane of a brain as x = 0.

    Attributes:
        rotation: ``[3, 3]`` (z, y, x), maps directions of the frame to directions of the array.
        centre: origin of the frame in the array, mm, z, y, x.
    """

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
