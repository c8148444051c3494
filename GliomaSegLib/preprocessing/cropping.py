"""Crops of arrays ``[z, y, x]`` to the box of a mask, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""Slices along z, y, x."""


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """The smallest box around the mask, ``margin`` voxels wider but inside the array.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no bounding box")
    sides = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask.any(axis=others))
        sides.append(slice(max(int(inside[0]) - margin, 0), min(int(inside[-1]) + 1 + margin, mask.shape[axis])))
    z, y, x = sides
    return z, y, x


def uncropped(values: NDArray, box: Box, shape: Sequence[int]) -> NDArray:
    """``values [z, y, x]`` at their place in a volume of ``shape``, which is 0 elsewhere."""
    full = np.zeros(shape, dtype=values.dtype)
    full[box] = values
    return full
