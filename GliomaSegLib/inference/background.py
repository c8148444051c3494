"""A network's answer to a whole field, computed in the box around the brain.

More than half of a skull-stripped image is background, and a network computes there as much as elsewhere. Cutting it
away changes what the network's group normalisation sees, and with it the answer, by tenths of a Dice score. But far
from the brain every feature map has one value: so a volume is carried through the network as its deviation from that
value inside the box, and the value itself; the normalisation counts the background as if it were there. At the
network's lowest resolution, where it costs little and the zeros around the field reach far, the whole field is
computed. The other convolutions cost what they cost for the box alone.

What this leaves out: the rim of the field at higher resolutions, where convolutions are padded with zeros, and the
brain's traces beyond the box. ``python -m Testing.bench engine`` measures both together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.postprocessing import bounding_box

Size = tuple[int, int, int]
Box = tuple[slice, slice, slice]


def answer_around(network: nn.Module, images: Tensor, step: int) -> Tensor:
    """About ``network(images)``, of which little more than the box of what is not 0 is computed.

    Args:
        network: made of convolutions, group normalisation with a rectifier behind it, upsampling and sums, as MONAI's
            SegResNet.
        images: ``[n, channel, z, y, x]``, each side a multiple of ``step``.
        step: how many voxels of the images become one at the network's lowest resolution.

    Returns:
        ``[n, class, z, y, x]``, outside the box what the network says of background.

    Raises:
        TypeError: the network has a layer of another kind.
    """
    box = aligned_box(images, step)
    nothing = images.new_zeros((len(images), images.shape[1], 1, 1, 1), dtype=torch.float32)
    found = network(_Around(images[(..., *box)], nothing, box, images.shape[2:], step))
    return found.whole().float()


def aligned_box(images: Tensor, step: int) -> Box:
    """The box of what is not 0 in ``[..., z, y, x]``, widened to multiples of ``step``; all of it where all is 0."""
    measured = images.flatten(end_dim=-4).any(0)
    if not measured.any():
        return tuple(slice(0, side) for side in measured.shape)
    tight = bounding_box(measured.cpu().numpy())
    return tuple(slice(one.start // step * step, -(-one.stop // step) * step) for one in tight)


@dataclass(frozen=True)
class _Around:
    """A volume that has one value per channel everywhere but in a box. Torch's functions are told how to take it.

    Attributes:
        deviation: ``[n, channel, *box]``, from the background.
        background: ``float32 [n, channel, 1, 1, 1]``.
        box: where it lies in the field, in this resolution's voxels.
        extent: of the field.
        step: how many voxels of this resolution become one at the lowest.
    """

    deviation: Tensor
    background: Tensor
    box: Box
    extent: Size
    step: int

    def whole(self) -> Tensor:
        """``[n, channel, *extent]``"""
        everywhere = self.background.to(self.deviation.dtype).expand(-1, -1, *self.extent).clone()
        everywhere[(..., *self.box)] += self.deviation
        return everywhere

    def __add__(self, other: _Around | Tensor) -> _Around:
        if isinstance(other, Tensor):
            other = self._boxed(other)
        deviation, background = self.deviation + other.deviation, self.background + other.background
        return replace(self, deviation=deviation, background=background)

    def _boxed(self, field: Tensor) -> _Around:
        """A field that was computed wholly; its background is what it is outside the box on average."""
        inside, axes = field[(..., *self.box)], (2, 3, 4)
        others = max(math.prod(self.extent) - inside[0, 0].numel(), 1)
        background = field.sum(axes, True, dtype=torch.float32) - inside.sum(axes, True, dtype=torch.float32)
        background /= others
        return replace(self, deviation=inside - background.to(field.dtype), background=background)

    @classmethod
    def __torch_function__(
        cls, function: Callable, types: Sequence[type], args: Sequence[Any] = (), kwargs: dict | None = None
    ) -> Any:
        own = _OWN.get(function)
        if own is None or (_Normalised in types and own is not _rectified):
            return NotImplemented
        return own(*args, **(kwargs or {}))


def _convolved(
    volume: _Around, weight: Tensor, bias: Tensor | None, stride: Size, padding: Size, *more: Any
) -> _Around | Tensor:
    """Padded with the background, whose deviation is 0. At the lowest resolution the whole field, from there on."""
    deviation = functional.conv3d(volume.deviation, weight, None, stride, padding, *more)
    with torch.autocast(deviation.device.type, enabled=False):
        background = torch.einsum("oizyx,ni->no", weight.float(), volume.background.flatten(1))
        background = background if bias is None else background + bias.float()
    by = stride[0]
    found = _Around(
        deviation,
        background[..., None, None, None],
        tuple(slice(side.start // by, side.stop // by) for side in volume.box),
        tuple(side // by for side in volume.extent),
        volume.step // by,
    )
    return found.whole() if by > 1 and found.step == 1 else found


@dataclass(frozen=True)
class _Normalised(_Around):
    """A volume whose deviation is yet to be multiplied by ``factor`` (``float32 [n, channel]``).

    The rectifier that follows does both at once; nothing else may follow.
    """

    factor: Tensor
    __add__ = None

    def scaled(self, shift: Tensor) -> Tensor:
        """``[n, channel, *box]``, plus ``shift [n, channel, 1, 1, 1]``: one pass each, as batch normalisation."""
        nothing, one = self.factor.new_zeros(self.factor.shape[1]), self.factor.new_ones(self.factor.shape[1])
        items = [
            functional.batch_norm(item[None], nothing, one, factor, by.flatten(), eps=0.0)
            for item, factor, by in zip(self.deviation, self.factor, shift, strict=True)
        ]
        return items[0] if len(items) == 1 else torch.cat(items)


def _normalised(volume: _Around, groups: int, weight: Tensor, bias: Tensor, eps: float) -> _Normalised:
    """By mean and variance over the whole field, from those of the deviation in the box."""
    deviation, background = volume.deviation, volume.background.flatten(1)
    share = deviation[0, 0].numel() / math.prod(volume.extent)
    mean_in_box, variance_in_box = map(torch.stack, zip(*map(_moments, deviation), strict=True))
    mean_deviation, mean_square = share * mean_in_box, share * (variance_in_box + mean_in_box**2)
    mean = _over_groups(background + mean_deviation, groups)
    # About the groups' mean, so that nothing large is taken from something large.
    offset = background - mean
    variance = _over_groups(offset**2 + 2 * offset * mean_deviation + mean_square, groups)
    factor = weight.float() / (variance + eps).sqrt()
    normalised = (offset * factor + bias.float())[..., None, None, None]
    return _Normalised(deviation, normalised, volume.box, volume.extent, volume.step, factor)


def _moments(deviation: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``float32 [channel]`` of ``[channel, z, y, x]``.

    By the statistics of batch normalisation, which torch takes from bfloat16 many times as fast as sums.
    """
    mean, variance = torch.zeros(2, len(deviation), device=deviation.device)
    torch.batch_norm_update_stats(deviation[None], mean, variance, 1.0)
    return mean, variance


def _over_groups(values: Tensor, groups: int) -> Tensor:
    """``[n, channel]``: each channel's value replaced by the mean of its group."""
    grouped = values.unflatten(1, (groups, -1))
    return grouped.mean(-1, keepdim=True).expand_as(grouped).flatten(1)


def _rectified(volume: _Around, inplace: bool = False) -> _Around:
    """max(background + deviation, 0) less max(background, 0), which is 0 where the deviation is.

    That is the deviation and what is negative of the background, or less what is positive of it if that is more.
    """
    negative, positive = volume.background.clamp(max=0), volume.background.clamp(min=0)
    kind = volume.deviation.dtype
    normalised = isinstance(volume, _Normalised)
    deviation = volume.scaled(negative) if normalised else volume.deviation + negative.to(kind)
    deviation.clamp_(min=-positive.to(kind))
    return _Around(deviation, positive, volume.box, volume.extent, volume.step)


def _interpolated(volume: _Around, *args: Any, **kwargs: Any) -> _Around:
    deviation = functional.interpolate(volume.deviation, *args, **kwargs)
    by = deviation.shape[2] // volume.deviation.shape[2]
    return _Around(
        deviation,
        volume.background,
        tuple(slice(side.start * by, side.stop * by) for side in volume.box),
        tuple(side * by for side in volume.extent),
        volume.step * by,
    )


def _unchanged(volume: _Around, *args: Any, **kwargs: Any) -> _Around:
    return volume


_OWN: dict[Callable, Callable[..., _Around | Tensor]] = {
    functional.conv3d: _convolved,
    functional.group_norm: _normalised,
    functional.relu: _rectified,
    functional.interpolate: _interpolated,
    functional.dropout: _unchanged,  # of a network that answers and does not learn
    functional.dropout3d: _unchanged,
    Tensor.add: lambda field, volume: volume + field,
}
