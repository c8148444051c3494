"""Sliding windows over a volume: positions, weights, and the weighted mean of a network's outputs.

Positions and weights are those of MONAI's ``SlidingWindowInferer`` (a test compares both). It is not used itself
because nnU-Net has other positions, and because a run must report progress, be cancelled between windows, and continue
with smaller windows or on the CPU when memory runs out.
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

# Windows are never made smaller than this per axis when memory is short: the network needs context.
_LEAST_WINDOW = 64


def regular(size: int, window: int, overlap: float) -> list[int]:
    """MONAI's positions: equal steps from the first voxel; the last window is moved back to end with the volume."""
    step = max(int(window * (1 - overlap)), 1)
    count = 1 + max(-(-(size - window) // step), 0)
    return [min(index * step, max(size - window, 0)) for index in range(count)]


def even(size: int, window: int, overlap: float) -> list[int]:
    """nnU-Net's positions: the fewest windows with at least this overlap, evenly spread from end to end."""
    count = 1 + int(np.ceil(max(size - window, 0) / (window * (1 - overlap))))
    return [round(place) for place in np.linspace(0, max(size - window, 0), count)]


def balanced(shape: Sequence[int], size: Size, overlap: float, step: int) -> Size:
    """The window size for which :func:`even` covers a volume of ``shape`` with the fewest voxels in total.

    Windows of a fixed size overlap almost completely along axes that are slightly longer.

    Args:
        size: the window has at most as many voxels as this one, and sides of at least half its length, unless the
            volume is smaller.
        step: its sides are multiples of this.
    """

    def sides(own: int, usual: int) -> Iterator[tuple[int, int]]:
        """Possible numbers of windows along an axis, with the window length."""
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
    """Equal weights."""
    return torch.ones(window)


def gaussian(window: Size) -> Tensor:
    """MONAI's weights: a Gaussian with a standard deviation of an eighth of the window, at least 0.001."""
    centred = [torch.arange(voxels) - (voxels - 1) / 2 for voxels in window]
    z, y, x = (torch.exp(places**2 / (-2 * (len(places) / 8) ** 2)) for places in centred)
    return (z[:, None, None] * y[:, None] * x).clamp_min(_LEAST_WEIGHT)


def tent(window: Size) -> Tensor:
    """Weights that decrease linearly towards the faces of a window, where the network has least context; never 0."""
    rising = [torch.arange(voxels) for voxels in window]
    z, y, x = (torch.minimum(places, places.flip(0)).add(1).float() / len(places) for places in rising)
    return z[:, None, None] * y[:, None] * x


@dataclass(frozen=True)
class Windows:
    """Settings of sliding-window inference. Sizes and axes are in the order of the network's axes.

    Attributes:
        size: window size in voxels.
        overlap: of neighbouring windows, as a fraction of a window.
        placing: function for the positions of windows.
        importance: function for the weights of overlapping outputs.
        trims_to: a window that is larger than the volume is cut to a multiple of this, instead of padding the volume.
            Faster; with instance normalisation the output differs slightly. ``None`` pads, as the networks' own
            packages.
        mirrors: the sets of axes along which windows are also mirrored; the outputs are averaged.
        padding: padding of a volume smaller than a window: 0, or its outermost voxels.
        pads_both_sides: whether it is padded on both sides, or only at the far ends.
        margin: additional input voxels on each side of a window without output; padding at the ends of the volume.
        one_size: whether the network needs exactly this window size, so that windows cannot be made smaller.
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
        """Input size of the network: window and margins."""
        depth, height, width = (own + 2 * more for own, more in zip(self.size, self.margin, strict=True))
        return depth, height, width

    def fitted(self, shape: Sequence[int]) -> Windows:
        """The settings for a volume of ``shape``."""
        if self.trims_to is None:
            return self
        step = self.trims_to
        depth, height, width = (min(most, -(-own // step) * step) for most, own in zip(self.size, shape, strict=True))
        return replace(self, size=(depth, height, width))

    def smaller(self) -> Windows | None:
        """The settings with the longest axis halved; ``None`` if that is too small."""
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
        """Pad ``volume [channel, *shape]`` to at least a window; returns it and the box of the original."""
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
        answer: maps ``[channel, *window]`` (with margins) to the network's output ``float32 [class, *window]`` on the
            CPU.
        volume: ``float32 [channel, *shape]``, on the CPU.
        windows: settings; a volume smaller than a window is padded.
        on_progress: called with the fraction done after each window; may raise ``Cancelled``.

    Returns:
        ``float32 [class, *shape]`` on the CPU.
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
