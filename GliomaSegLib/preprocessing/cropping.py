"""Crops of arrays ``[z, y, x]`` to the box of a mask, and back."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Box = tuple[slice, slice, slice]
"""Slices along z, y, x."""


def bounding_box(mask: NDArray[np.bool_], margin: int = 0) -> Box:
    """The smallest box around the mask, ``margin`` voxels wider, within the array.

    Raises:
        ValueError: the mask is empty.
    """
    if not mask.any():
        raise ValueError("an empty mask has no bounding box")
    z = _side(mask, (1, 2), margin)
    rows = np.asarray(mask[z].any(axis=0))
    return z, _side(rows, (1,), margin), _side(rows, (0,), margin)


def _side(mask: NDArray[np.bool_], others: tuple[int, ...], margin: int) -> slice:
    """Where the mask lies along its remaining axis."""
    inside = np.asarray(mask.any(axis=others))
    places = np.flatnonzero(inside)
    return slice(max(int(places[0]) - margin, 0), min(int(places[-1]) + 1 + margin, len(inside)))


def uncropped(values: NDArray, box: Box, shape: Sequence[int]) -> NDArray:
    """Pad ``values [z, y, x]`` to a volume of ``shape`` with 0."""
    full = np.zeros(shape, dtype=values.dtype)
    full[box] = values
    return full
