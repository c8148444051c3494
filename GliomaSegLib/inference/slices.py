"""Sliding windows of slices in one plane, and the assembly of the network's outputs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

# Given a stack float32 [channels, slices, height, width] and the first slice of each window in it,
# the probability float32 [slices - 2 * margin, height, width].
StackModel = Callable[[NDArray[np.float32], Sequence[int]], NDArray[np.float32]]


class Plane(str, Enum):
    """The plane in which a volume is cut into slices."""

    AXIAL = "axial"
    SAGITTAL = "sagittal"
    CORONAL = "coronal"

    @property
    def axes(self) -> tuple[int, int, int]:
        """Which axes of ``[z, y, x]`` are slice, height and width."""
        return {"axial": (0, 1, 2), "sagittal": (2, 0, 1), "coronal": (1, 0, 2)}[self.value]

    def turned_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """(slices, height, width) of a volume of ``shape`` (z, y, x)."""
        slices, height, width = (shape[axis] for axis in self.axes)
        return slices, height, width

    def turn(self, volume: NDArray) -> NDArray:
        """A view of ``[..., z, y, x]`` as ``[..., slice, height, width]``."""
        leading = tuple(range(volume.ndim - 3))
        return volume.transpose(*leading, *(len(leading) + axis for axis in self.axes))

    def turn_back(self, volume: NDArray) -> NDArray:
        """The inverse of :meth:`turn` for ``[slice, height, width]``."""
        return volume.transpose(np.argsort(self.axes))


@dataclass(frozen=True)
class SliceWindows:
    """The windows of a network over a stack of slices.

    Attributes:
        slices: number of slices of a window.
        margin: slices at either end of a window without output.
        batch: windows per batch. With batch normalisation it changes the output slightly: it belongs to the model and
            must not depend on the computer.
        least_in_plane: (height, width) in voxels to which smaller slices are padded.
        in_plane_multiple: height and width are padded to a multiple of this.
    """

    slices: int
    margin: int
    batch: int
    least_in_plane: tuple[int, int]
    in_plane_multiple: int

    @property
    def answered(self) -> int:
        """Number of slices of a window with output."""
        return self.slices - 2 * self.margin

    def starts(self, depth: int) -> list[int]:
        """First output slice of each window, without overlap; the last window is moved back to end with the volume."""
        last = max(depth - self.answered, 0)
        return [min(start, last) for start in range(0, max(depth, 1), self.answered)]

    def groups(self, depth: int) -> list[list[int]]:
        """The windows' starts in batches, in order."""
        starts = self.starts(depth)
        return [starts[first : first + self.batch] for first in range(0, len(starts), self.batch)]

    def padded_shape(self, shape: tuple[int, int, int]) -> tuple[int, int, int]:
        """Shape (slices, height, width) of a volume with its padding."""
        depth, *in_plane = shape
        step = self.in_plane_multiple
        height, width = (
            max(-(-size // step) * step, least) for size, least in zip(in_plane, self.least_in_plane, strict=True)
        )
        return max(depth, self.answered) + 2 * self.margin, height, width

    def pad(
        self, volume: NDArray[np.float32], noisy: Sequence[bool], generator: np.random.Generator
    ) -> tuple[NDArray[np.float32], tuple[slice, ...]]:
        """Pad ``[channels, slices, height, width]``: in-plane on both sides, ``margin`` slices at either end.

        The padding is standard normal noise in the channels marked ``noisy`` and 0 in the others.

        Returns:
            The padded volume, and where the original lies in it.
        """
        shape = self.padded_shape(volume.shape[1:])
        offsets = (self.margin, *((shape[axis] // 2 - volume.shape[axis + 1] // 2) for axis in (1, 2)))
        inside = tuple(slice(first, first + size) for first, size in zip(offsets, volume.shape[1:], strict=True))
        padded = np.zeros((len(volume), *shape), dtype=np.float32)
        padded[(slice(None), *inside)] = volume
        outside = np.ones(shape, dtype=bool)
        outside[inside] = False
        for channel in np.flatnonzero(noisy):
            padded[channel][outside] = generator.standard_normal(np.count_nonzero(outside), dtype=np.float32)
        return padded, inside


def predict_stacks(
    model: StackModel,
    windows: SliceWindows,
    volume: NDArray[np.float32],
    noisy: Sequence[bool],
    generator: np.random.Generator,
    batch_done: Callable[[], None],
) -> NDArray[np.float32]:
    """Run ``model`` over a volume, one batch of windows after the other.

    Args:
        model: the network as a function of arrays.
        windows: over the volume.
        volume: ``[channels, slices, height, width]``, normalised.
        noisy: per channel whether its padding is noise (or 0).
        generator: of that noise.
        batch_done: called after each batch.

    Returns:
        The probability, ``float32 [slices, height, width]``.
    """
    padded, (_, rows, columns) = windows.pad(volume, noisy, generator)
    # The output for padded slice s + margin is slice s; a volume thinner than a window's output leaves some over.
    probability = np.zeros((padded.shape[1] - 2 * windows.margin, *padded.shape[2:]), dtype=np.float32)
    for starts in windows.groups(volume.shape[1]):
        first, last = starts[0], starts[-1] + windows.slices
        stack_starts = [start - first for start in starts]
        probability[first : last - 2 * windows.margin] = model(padded[:, first:last], stack_starts)
        batch_done()
    return probability[: volume.shape[1], rows, columns]
