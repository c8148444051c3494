"""Networks for volumes in channels-last order, in which convolutions are fastest, also on a CPU.

For inference on a CPU two of torch's layers are replaced, which lose what that order gains:

* Instance normalisation copies its input into contiguous order, and the next convolution copies it back.
* Convolutions of small inputs in float32 (less than 20,480 values per x) are not computed by oneDNN, but by torch's
  oldest code.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional


def channels_last(network: nn.Module) -> nn.Module:
    """``network`` itself, whose convolutions and instance normalisations now compute in channels-last order."""
    for module in network.modules():
        if type(module) in _REPLACED:
            cast(Any, module).__class__ = _REPLACED[type(module)]
    for weight in network.parameters():
        if weight.dim() == 5:
            weight.data = weight.data.contiguous(memory_format=torch.channels_last_3d)
    return network


class ChannelsLastInstanceNorm(nn.InstanceNorm3d):
    """``nn.InstanceNorm3d``, which on a CPU keeps channels-last order where no gradient is needed."""

    def forward(self, input: Tensor) -> Tensor:  # the argument's name is torch's
        kept = input.is_contiguous(memory_format=torch.channels_last_3d) and not self.track_running_stats
        if not kept or not _in_inference(input):
            return super().forward(input)
        if len(input) > 1:
            return torch.cat([self.forward(one) for one in input.split(1)])
        mean, variance = _moments(input)
        return functional.batch_norm(input, mean, variance, self.weight, self.bias, eps=self.eps)


class OneDnnConvolution(nn.Conv3d):
    """``nn.Conv3d``, which on a CPU is oneDNN's where no gradient is needed, however small its input."""

    def forward(self, input: Tensor) -> Tensor:  # the argument's name is torch's
        zeros = self.padding_mode == "zeros" and not torch.is_autocast_enabled("cpu")
        if isinstance(self.padding, str) or not zeros or input.dtype != torch.float32 or not _in_inference(input):
            return super().forward(input)
        return torch.mkldnn_convolution(
            input, self.weight, self.bias, self.padding, self.stride, self.dilation, self.groups
        )


def _in_inference(features: Tensor) -> bool:
    own_kernels = features.device.type == "cpu" and torch.backends.mkldnn.is_available()
    return own_kernels and features.dim() == 5 and not torch.is_grad_enabled()


def measure_moments(slices: Tensor, mean: Tensor, variance: Tensor) -> None:
    """Write mean and biased variance over height and width of each slice.

    Args:
        slices: ``[slice, channel, height, width]``; on a CPU fastest in channels-last order.
        mean, variance: ``float32 [slice, channel]``, which are overwritten.
    """
    if slices.device.type != "cpu":
        computed = torch.var_mean(slices.float(), dim=(2, 3), correction=0)
        variance.copy_(computed[0])
        mean.copy_(computed[1])
        return
    # One pass over channels-last memory; a momentum of 1 hands the float32 moments over in the running buffers.
    for one, one_mean, one_variance in zip(slices.split(1), mean, variance, strict=True):
        torch.batch_norm_update_stats(one, one_mean, one_variance, 1.0)
    pixels = slices.shape[2] * slices.shape[3]
    variance *= (pixels - 1) / pixels  # the running variance is the unbiased one


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance per channel, ``float32 [channel]``, of channels-last ``[1, channel, z, y, x]``.

    torch adds up the voxels of channels-last tensors one by one in float32, which is off by a thousandth in a large
    volume. Here it does so for each x apart, and these are pooled in float64.
    """
    _, channels, z, y, x = features.shape
    rows = features.permute(0, 2, 3, 4, 1).reshape(1, z * y, 1, x * channels).permute(0, 3, 1, 2)
    measured = torch.zeros((2, 1, x * channels))
    measure_moments(rows, *measured)
    means, variances = measured.view(2, x, channels).double()
    mean = means.mean(0)
    return mean.float(), (variances + (means - mean) ** 2).mean(0).float()


_REPLACED: dict[type[nn.Module], type[nn.Module]] = {
    nn.InstanceNorm3d: ChannelsLastInstanceNorm,
    nn.Conv3d: OneDnnConvolution,
}
