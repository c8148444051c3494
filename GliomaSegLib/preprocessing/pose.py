"""A frame in an array. NumPy alone, so that training on a remote GPU and measuring without torch share it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Pose:
    """A frame in an array, such as one whose plane x = 0 halves a brain, its origin in the middle of that.

    Attributes:
        rotation: ``[3, 3]``, order z, y, x: takes directions of the frame to directions of the array.
        centre: the frame's origin in the array, mm, z, y, x.
    """

    rotation: NDArray[np.float64]
    centre: NDArray[np.float64]
