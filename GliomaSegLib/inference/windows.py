"""Sliding windows over a volume: where they lie, how they are weighted, and the weighted mean of a network's outputs.

The windows and their weights are those of MONAI's ``SlidingWindowInferer`` (a test compares the two). The loop is our
own because nnU-Net places its windows otherwise, and because a run must report how far it is, be cancelled between two
windows, and go on in smaller pieces or on the processor when memory runs out.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from GliomaSegLib.preprocessing.cropping import Box

Size = tuple[int, int, int]

# Given (size, window, overlap) of an axis: where its windows begin.
Placing = Callable[[int, int, float], list[int]]

# Given a window's size: the weight of its voxels' outputs, float32 [*window].
Importance = Callable[[Size], Tensor]

# A window that is trimmed to any volume: the whole field in one pass.
WHOLE_FIELD = (1 << 20, 1 << 20, 1 << 20)

# Of a voxel's output, as in MONAI: the corners of a window must count for something where no other window reaches.
_LEAST_WEIGHT = 1e-3

# A window is not cut below this many voxels per axis when memory is short: the network would see too little.
_LEAST_WINDOW = 64


def regular(size: int, window: int, overlap: float) -> list[int]:
    """MONAI's placing: equal steps from the first voxel; the last window is moved back to end with the volume."""
    step = max(int(window * (1 - overlap)), 1)
    count = 1 + max(-(-(size - window) // step), 0)
    return [min(index * step, max(size - window, 0)) for index in range(count)]


def even(size: int, window: int, overlap: float) -> list[int]:
    """nnU-Net's placing: as many windows as that overlap needs at least, evenly spread from end to end."""
    count = 1 + int(np.ceil(max(size - window, 0) / (window * (1 - overlap))))
    return [round(place) for place in np.linspace(0, max(size - window, 0), count)]


def balanced(shape: Sequence[int], size: Size, overlap: float, step: int) -> Size:
    """The window with which :func:`even` goes through a volume of ``shape`` in the fewest voxels.

    Windows of a fixed size lie almost on top of each other where an axis is a little longer than they are.

    Args:
        size: the window has no more voxels than this one, and no side shorter than half of this one's, unless the
            volume has.
        step: its sides are multiples of this many voxels.
    """

    def sides(own: int, usual: int) -> Iterator[tuple[int, int]]:
        """How many windows an axis may have, and how long they are then."""
        for count in itertools.count(1):
            side = -(-int(np.ceil(own / (count - (count - 1) * overlap))) // step) * step
            if count > 1 and side < usual / 2:
                return
            yield count, side
            if side == step:  # more windows would be no shorter
                return

    def cost(chosen: Sequence[tuple[int, int]]) -> tuple[int, int, int]:
        windows, voxels = (math.prod(numbers) for numbers in zip(*chosen, strict=True))
        return max(voxels - math.prod(size), 0), windows * voxels, windows

    (_, depth), (_, height), (_, width) = min(itertools.product(*map(sides, shape, size)), key=cost)
    return depth, height, width


def constant(window: Size) -> Tensor:
    """Every voxel of a window has the same weight."""
    return torch.ones(window)


def gaussian(window: Size) -> Tensor:
    """MONAI's weights: a Gaussian with a standard deviation of an eighth of the window, and nowhere below 0.001."""
    centred = [torch.arange(voxels) - (voxels - 1) / 2 for voxels in window]
    z, y, x = (torch.exp(places**2 / (-2 * (len(places) / 8) ** 2)) for places in centred)
    return (z[:, None, None] * y[:, None] * x).clamp_min(_LEAST_WEIGHT)


def tent(window: Size) -> Tensor:
    """Weights that fall linearly towards a window's faces, where the network sees least, and are nowhere 0."""
    rising = [torch.arange(voxels) for voxels in window]
    z, y, x = (torch.minimum(places, places.flip(0)).add(1).float() / len(places) for places in rising)
    return z[:, None, None] * y[:, None] * x


@dataclass(frozen=True)
class Windows:
    """How a network goes through a volume. Sizes and axes are in the order of the network's own axes.

    Attributes:
        size: voxels of a window.
        overlap: of neighbouring windows, as a fraction of a window.
        placing: where they begin.
        importance: how their outputs are weighted where they overlap.
        trims_to: a window that is larger than the volume is cut down to it, in multiples of this many voxels, instead
            of the volume being padded to the window. Faster; networks that normalise over what they see answer a
            little differently. ``None`` pads, as the networks' own packages do.
        mirrors: the sets of axes along which the window is also shown mirrored; the outputs are averaged.
        padding: what a volume smaller than a window is padded with: 0, or its outermost voxels.
        pads_both_sides: whether it is padded on both sides, or at the far ends alone.
        margin: voxels on either side of a window that the network is shown besides and gives no output for; at the
            ends of the volume they are padding.
        one_size: whether the network takes windows of this size alone, so that they are not made smaller.
    """

    size: Size
    overlap: float
    placing: Placing = regular
    importance: Importance = constant
    trims_to: int | None = None
    mirrors: tuple[tuple[int, ...], ...] = ()
    padding: Literal["constant", "replicate"] = "constant"
    pads_both_sides: bool = True
    margin: Size = (0, 0, 0)
    one_size: bool = False

    @property
    def shown(self) -> Size:
        """Voxels of what the network is shown at once."""
        depth, height, width = (own + 2 * more for own, more in zip(self.size, self.margin, strict=True))
        return depth, height, width

    def fitted(self, shape: Sequence[int]) -> Windows:
        """For a volume of ``shape``."""
        if self.trims_to is None:
            return self
        step = self.trims_to
        depth, height, width = (min(most, -(-own // step) * step) for most, own in zip(self.size, shape, strict=True))
        return replace(self, size=(depth, height, width))

    def smaller(self) -> Windows | None:
        """With the longest axis halved, or ``None`` when that would be too little."""
        longest = max(range(3), key=lambda axis: self.size[axis])
        half = -(-self.size[longest] // 2 // 32) * 32
        if self.one_size or half < _LEAST_WINDOW or half >= self.size[longest]:
            return None
        depth, height, width = (half if axis == longest else self.size[axis] for axis in range(3))
        return replace(self, size=(depth, height, width))

    def places(self, shape: Sequence[int]) -> list[Box]:
        """The windows in a (padded) volume of ``shape``."""
        starts = [self.placing(own, window, self.overlap) for own, window in zip(shape, self.size, strict=True)]
        depth, height, width = self.size
        return [
            (slice(z, z + depth), slice(y, y + height), slice(x, x + width)) for z, y, x in itertools.product(*starts)
        ]

    def padded(self, volume: Tensor) -> tuple[Tensor, Box]:
        """``volume [channel, *shape]``, no side smaller than a window's, and the original's place in it."""
        shape = volume.shape[1:]
        missing = [max(window - own, 0) for window, own in zip(self.size, shape, strict=True)]
        before = [voxels // 2 if self.pads_both_sides else 0 for voxels in missing]
        after = [voxels - first for voxels, first in zip(missing, before, strict=True)]
        sides = [side for pair in zip(reversed(before), reversed(after), strict=True) for side in pair]
        z, y, x = (slice(first, first + own) for first, own in zip(before, shape, strict=True))
        return functional.pad(volume, sides, mode=self.padding) if any(missing) else volume, (z, y, x)


def mirrors(*axes: int) -> tuple[tuple[int, ...], ...]:
    """Every combination of mirrored ``axes`` (of 0, 1, 2), as nnU-Net averages them."""
    return tuple(chosen for count in range(1, len(axes) + 1) for chosen in itertools.combinations(sorted(axes), count))


def mirrored(volume: Tensor, axes: tuple[int, ...]) -> Tensor:
    """``volume [channel, z, y, x]`` flipped along ``axes`` (of 0, 1, 2)."""
    return volume.flip([axis + 1 for axis in axes]) if axes else volume


def slide(
    answer: Callable[[Tensor], Tensor], volume: Tensor, windows: Windows, on_progress: Callable[[float], None]
) -> Tensor:
    """The weighted mean of the network's outputs over all windows of a volume.

    Args:
        answer: the network's answer ``float32 [class, *window]``, on the processor, to ``[channel, *window]``, which is
            wider by the windows' margin.
        volume: ``float32 [channel, *shape]``, on the processor.
        windows: how to go through it; a volume smaller than a window is padded.
        on_progress: called with the fraction done after each window; may raise ``Cancelled``.

    Returns:
        ``float32 [class, *shape]`` on the processor.
    """
    padded, inside = windows.padded(volume)
    answered_shape, margin = padded.shape[1:], windows.margin
    places = windows.places(answered_shape)
    if any(margin):
        padded = functional.pad(padded, [more for more in reversed(margin) for _ in range(2)], mode=windows.padding)
    if len(places) == 1:
        total = answer(padded)
        on_progress(1.0)
        return total[(slice(None), *inside)]
    weight = windows.importance(windows.size)
    weights = torch.zeros(answered_shape)
    total = torch.empty(0)
    for done, here in enumerate(places):
        shown = (slice(part.start, part.stop + 2 * more) for part, more in zip(here, margin, strict=True))
        answered = answer(padded[(slice(None), *shown)])
        if done == 0:
            total = torch.zeros((len(answered), *answered_shape))
        total[(slice(None), *here)] += answered * weight
        weights[here] += weight
        on_progress((done + 1) / len(places))
    return (total / weights)[(slice(None), *inside)]
