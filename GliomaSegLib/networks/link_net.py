"""deepbet's LinkNet, which tells brain from background in the box around a head.

Fisch L et al. deepbet: fast brain extraction of T1-weighted MRI using convolutional neural networks. Comput Biol Med
2024;179:108845; LinkNet: Chaurasia A, Culurciello E. VCIP 2017, arXiv:1707.03718. Its parameters have the names of the
published TorchScript files, which compute in contiguous order and so are slower on a CPU.

A 7x7x7 convolution and maximum pooling, each with stride 2; four levels of two residual blocks with 16, 32, 64 and 128
channels, from the second on at half the resolution of the one before; up again in four steps, which are added to what
the encoder had there; two convolutions with 8 channels, and one that gives both classes at full resolution. All
convolutions but the last are followed by instance normalisation.
"""

from __future__ import annotations

from torch import Tensor, nn

_CHANNELS = (16, 32, 64, 128)
_LAST_CHANNELS = 8


class LinkNet(nn.Module):
    """Where the brain is more likely than the background, ``bool [x, y, z]``, in one image ``[1, 1, x, y, z]`` in RAS
    whose edges are multiples of 32."""

    def __init__(self) -> None:
        super().__init__()
        first, second, third, fourth = _CHANNELS
        self.init = nn.Sequential(*_layer(nn.Conv3d(1, first, 7, 2, 3, bias=False)), nn.MaxPool3d(3, 2, 1))
        self.down0, self.down1 = _Level(first, first), _Level(first, second)
        self.down2, self.down3 = _Level(second, third), _Level(third, fourth)
        self.up0, self.up1, self.up2 = _Up(fourth, third), _Up(third, second), _Up(second, first)
        self.up3 = _Up(first, first)
        self.tp_conv1 = _layer(nn.ConvTranspose3d(first, _LAST_CHANNELS, 3, 2, 1, 1))
        self.conv = _layer(nn.Conv3d(_LAST_CHANNELS, _LAST_CHANNELS, 3, padding=1))
        self.tp_conv2 = nn.ConvTranspose3d(_LAST_CHANNELS, 2, 2, 2)

    def forward(self, image: Tensor) -> Tensor:
        first = self.init(image)
        second = self.down0(first)
        third = self.down1(second)
        fourth = self.down2(third)
        found = self.up0(self.down3(fourth)) + fourth
        found = self.up1(found) + third
        found = self.up2(found) + second
        found = self.up3(found) + first
        return self._is_brain(self.conv(self.tp_conv1(found)))

    def _is_brain(self, features: Tensor) -> Tensor:
        """The last convolution and the choice between its classes: as its kernel is as wide as its stride, one matrix
        product gives the eight voxels that each voxel becomes."""
        weight, bias = self.tp_conv2.weight, self.tp_conv2.bias
        assert bias is not None
        brain = (weight[:, 1] - weight[:, 0]).flatten(1)
        found = features[0].permute(1, 2, 3, 0) @ brain > bias[0] - bias[1]
        x, y, z, _ = found.shape
        return found.view(x, y, z, 2, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(2 * x, 2 * y, 2 * z)


class _Block(nn.Module):
    """Two 3x3x3 convolutions beside a shortcut."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        stride = 1 if channels == out else 2
        second = _normalised(nn.Conv3d(out, out, 3, padding=1, bias=False))
        self.double_conv = nn.Sequential(*_layer(nn.Conv3d(channels, out, 3, stride, 1, bias=False)), *second)
        shortcut = nn.Sequential(*_normalised(nn.Conv3d(channels, out, 1, stride, bias=False)))
        self.downsample = nn.Identity() if stride == 1 else shortcut

    def forward(self, features: Tensor) -> Tensor:
        return self.double_conv(features).add_(self.downsample(features)).relu_()


class _Level(nn.Module):
    """Two residual blocks."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.block1, self.block2 = _Block(channels, out), _Block(out, out)

    def forward(self, features: Tensor) -> Tensor:
        return self.block2(self.block1(features))


class _Up(nn.Sequential):
    """A quarter of the channels, twice the edges where the number of channels changes, then ``out`` channels."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        narrow, step = channels // 4, 1 if channels == out else 2
        self.conv1 = _layer(nn.Conv3d(channels, narrow, 1, bias=False))
        self.tp_conv = _layer(nn.ConvTranspose3d(narrow, narrow, 3, step, 1, step - 1, bias=False))
        self.conv2 = _layer(nn.Conv3d(narrow, out, 1, bias=False))


def _normalised(convolution: nn.Conv3d | nn.ConvTranspose3d) -> list[nn.Module]:
    return [convolution, nn.InstanceNorm3d(convolution.out_channels)]


def _layer(convolution: nn.Conv3d | nn.ConvTranspose3d) -> nn.Sequential:
    """``convolution``, instance normalisation, ReLU."""
    return nn.Sequential(*_normalised(convolution), nn.ReLU(inplace=True))
