"""The anisotropic networks of CA-CNN: WNet, TNet (down-sampled twice) and ENet (down-sampled once).

Wang G, Li W, Ourselin S, Vercauteren T. Automatic brain tumor segmentation using cascaded anisotropic convolutional
neural networks. BrainLes 2017, arXiv:1709.00382.

The network sees windows of 19 slices and gives the central 11: convolutions are 3 x 3 inside a slice, and four
'fuse' convolutions of three slices each shorten the stack. Two facts shape this implementation:

* Batch normalisation uses the statistics of the batch, also at inference. A batch is a group of overlapping windows.
  Within one batch a slice has the same features in every window that holds it, so each slice is computed once and
  *counted* in the statistics as often as windows hold it. The output is that of the plain network, a third cheaper.
* On a CPU memory access costs more than the arithmetic of the convolutions. A layer therefore processes a few slices
  at a time, so that normalisation, activation, convolution and statistics of those slices stay in the cache, and it
  writes into buffers that are reused from layer to layer.

Tensors are ``[slices, channels, height, width]`` with channels last in memory.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from GliomaSegLib.networks.memory_format import measure_moments

WINDOW_SLICES = 19
OUTPUT_SLICES = 11
MARGIN_SLICES = (WINDOW_SLICES - OUTPUT_SLICES) // 2
CHANNELS = 32
_EPSILON = 1e-5

# Values that a step processes at a time on a CPU, so that they and the adjacent slices stay in the L2 cache.
_CHUNK_VALUES = 1 << 20
# Enough pieces for many threads in the small layers too; fixed, so that results do not depend on the computer.
_LEAST_PIECES = 8


def slice_counts(starts: Sequence[int], level: int, window_slices: int = WINDOW_SLICES) -> Tensor:
    """How many windows hold each slice of a stack after ``level`` fuse layers, ``float64 [slices]``.

    Args:
        starts: first slice of each window in the stack.
        level: number of fuse layers passed (0 to 4); each takes one slice off either end.
    """
    counts = torch.zeros(max(starts) + window_slices - 2 * level, dtype=torch.float64)
    for start in starts:
        counts[start : start + window_slices - 2 * level] += 1
    return counts


@dataclass(frozen=True)
class Features:
    """A stack's activations and their moments per slice.

    Attributes:
        values: ``[slices, channels, height, width]``.
        mean, variance: over height and width, ``float32 [slices, channels]``.
    """

    values: Tensor
    mean: Tensor
    variance: Tensor

    def read(self, first: int, last: int) -> Tensor:
        """The slices ``first`` to ``last`` (exclusive)."""
        return self.values[first:last]

    def pooled(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and biased variance per channel over all slices, each counted ``counts`` times."""
        weights = (counts / counts.sum())[:, None]
        mean, variance = self.mean.cpu().double(), self.variance.cpu().double()
        pooled_mean = (weights * mean).sum(0)
        pooled_variance = (weights * (variance + (mean - pooled_mean) ** 2)).sum(0)
        return pooled_mean.float().to(self.values.device), pooled_variance.float().to(self.values.device)


class Workspace:
    """Named buffers that grow as needed and are reused, because allocating memory costs more than the arithmetic."""

    def __init__(self) -> None:
        self._flat: dict[str, Tensor] = {}

    def buffer(self, name: str, shape: tuple[int, int, int, int], like: Tensor) -> Tensor:
        """An uninitialised channels-last tensor ``[slices, channels, height, width]`` of ``like``'s type and device."""
        slices, channels, height, width = shape
        size = slices * channels * height * width
        flat = self._flat.get(name)
        if flat is None or flat.numel() < size or flat.dtype != like.dtype or flat.device != like.device:
            self._flat.pop(name, None)
            flat = self._flat[name] = torch.empty(size, dtype=like.dtype, device=like.device)
        return flat[:size].view(slices, height, width, channels).permute(0, 3, 1, 2)


@functools.cache
def _hands(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "slices")


def _in_pieces(values: Tensor, work: Callable[[int, int], None]) -> None:
    """Call ``work(first, last)`` for pieces of a stack: small ones on a CPU, the whole stack on a GPU."""
    slices, threads = len(values), torch.get_num_threads()
    if values.device.type != "cpu":
        work(0, slices)
        return
    cached = _CHUNK_VALUES // (CHANNELS * values.shape[-2] * values.shape[-1])
    step = max(1, min(cached, -(-slices // _LEAST_PIECES)))
    starts = range(0, slices, step)
    # One thread computes each piece: threads synchronise once per layer, and sums do not depend on their number.
    in_inference = torch.inference_mode()(work)  # inference mode is thread-local
    torch.set_num_threads(1)
    try:
        for _ in _hands(threads).map(in_inference, starts, (min(start + step, slices) for start in starts)):
            pass
    finally:
        torch.set_num_threads(threads)


def _measured(values: Tensor) -> Features:
    mean, variance = torch.zeros((2, *values.shape[:2]), device=values.device)
    _in_pieces(values, lambda i, j: measure_moments(values[i:j], mean[i:j], variance[i:j]))
    return Features(values, mean, variance)


def _fill(target: Tensor, work: Callable[[int, int], Tensor]) -> Features:
    """Fill ``target`` a few slices at a time with ``work(first, last)``, and compute their moments."""
    mean, variance = torch.zeros((2, *target.shape[:2]), device=target.device)

    def fill(first: int, last: int) -> None:
        target[first:last].copy_(work(first, last))
        measure_moments(target[first:last], mean[first:last], variance[first:last])

    _in_pieces(target, fill)
    return Features(target, mean, variance)


class NormPReLU(nn.Module):
    """Batch normalisation with given statistics, then PReLU with one slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones(channels))
        self.beta = nn.Parameter(torch.zeros(channels))
        self.alpha = nn.Parameter(torch.zeros(channels))

    def forward(self, values: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        normalised = functional.batch_norm(values, mean, variance, self.gamma, self.beta, eps=_EPSILON)
        return functional.prelu(normalised, self.alpha.to(values.dtype))


@dataclass(frozen=True)
class Activated:
    """Features that are normalised and activated whenever they are read, which is cheaper than storing the result."""

    raw: Features
    norm: NormPReLU
    statistics: tuple[Tensor, Tensor]
    margin: int = 0

    @property
    def values(self) -> Tensor:
        """The values before normalisation, for their shape."""
        return self.raw.values[self.margin : len(self.raw.values) - self.margin]

    def read(self, first: int, last: int) -> Tensor:
        """The activated slices ``first`` to ``last`` (exclusive)."""
        return self.norm(self.values[first:last], *self.statistics)

    def central(self, margin: int) -> Activated:
        """The same without ``margin`` slices at either end."""
        return replace(self, margin=margin)

    def settle(self, target: Tensor) -> Features:
        """Activate into ``target``, which may be the raw features' own memory."""
        return _fill(target, self.read)


class ResidualBlock(nn.Module):
    """Two 3 x 3 convolutions in the slice, each after normalisation and PReLU, around a zero-padded shortcut."""

    def __init__(self, in_channels: int, dilation: int = 1) -> None:
        super().__init__()
        self.norm_0 = NormPReLU(in_channels)
        self.conv_0 = nn.Conv2d(in_channels, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)
        self.norm_1 = NormPReLU(CHANNELS)
        self.conv_1 = nn.Conv2d(CHANNELS, CHANNELS, 3, padding=dilation, dilation=dilation, bias=False)

    def forward(self, stream: Features, branch: Tensor, target: Tensor, counts: Tensor) -> Features:
        """Fill ``target`` with the sum of ``stream`` and the block's branch; both may be the same memory.

        ``branch`` is scratch, ``[slices, 32, height, width]`` like ``target``.
        """
        entry = Activated(stream, self.norm_0, stream.pooled(counts))
        inner = _fill(branch, lambda i, j: self.conv_0(entry.read(i, j)))
        middle = Activated(inner, self.norm_1, inner.pooled(counts))

        def add_branch(i: int, j: int) -> Tensor:
            added = self.conv_1(middle.read(i, j))
            shortcut = stream.read(i, j)
            padding = (CHANNELS - shortcut.shape[1]) // 2
            added[:, padding : CHANNELS - padding] += shortcut
            return added

        return _fill(target, add_branch)


class ConvNormPReLU(nn.Module):
    """A convolution, then normalisation and activation."""

    def __init__(self, convolution: nn.Conv2d | nn.ConvTranspose2d, channels: int = CHANNELS) -> None:
        super().__init__()
        self.conv = convolution
        self.norm = NormPReLU(channels)

    def forward(self, source: Features | Activated, target: Tensor, counts: Tensor, halo: int = 0) -> Activated:
        """Convolve into ``target``; slice i of it is made from the slices i to i + ``halo`` of ``source``."""
        raw = _fill(target, lambda i, j: self.conv(source.read(i, j + halo)))
        return Activated(raw, self.norm, raw.pooled(counts))


class FuseSlices(nn.Conv2d):
    """The 3 x 1 x 1 convolution. Seen with slices as rows and pixels as columns it is a plain 3 x 1 convolution."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, (3, 1), bias=False)

    def forward(self, values: Tensor) -> Tensor:
        slices, channels, height, width = values.shape
        rows = values.permute(1, 0, 2, 3).reshape(1, channels, slices, height * width)
        fused = super().forward(rows)
        return fused.reshape(channels, slices - 2, height, width).permute(1, 0, 2, 3)


class DownSample(nn.Conv2d):
    """3 x 3 convolution with stride 2; 'same' padding of an even size adds a row and a column at the far end only."""

    def __init__(self) -> None:
        super().__init__(CHANNELS, CHANNELS, 3, stride=2, bias=False)

    def forward(self, values: Tensor) -> Tensor:
        return super().forward(functional.pad(values, (0, 1, 0, 1)))


class UpSample(nn.ConvTranspose2d):
    """Transposed 3 x 3 convolution with stride 2, without the surplus last row and column."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__(in_channels, out_channels, 3, stride=2, bias=False)

    def forward(self, values: Tensor, output_size: list[int] | None = None) -> Tensor:
        return super().forward(values, output_size)[:, :, :-1, :-1]


class AnisotropicNet(nn.Module):
    """WNet and TNet (``downsample_twice=True``) or ENet (``False``) for two classes: outside and inside a region."""

    def __init__(self, in_channels: int = 4, downsample_twice: bool = True) -> None:
        super().__init__()
        self.downsample_twice = downsample_twice
        self.block1_1 = ResidualBlock(in_channels)
        self.block1_2 = ResidualBlock(CHANNELS)
        self.fuse1 = ConvNormPReLU(FuseSlices())
        if downsample_twice:
            self.downsample1 = ConvNormPReLU(DownSample())
        self.block2_1 = ResidualBlock(CHANNELS)
        self.block2_2 = ResidualBlock(CHANNELS)
        self.fuse2 = ConvNormPReLU(FuseSlices())
        self.downsample2 = ConvNormPReLU(DownSample())
        self.block3_1, self.block3_2, self.block3_3 = (ResidualBlock(CHANNELS, dilation) for dilation in (1, 2, 3))
        self.block4_1, self.block4_2, self.block4_3 = (ResidualBlock(CHANNELS, dilation) for dilation in (3, 2, 1))
        self.fuse3 = ConvNormPReLU(FuseSlices())
        self.fuse4 = ConvNormPReLU(FuseSlices())
        self.pred_up2_1 = ConvNormPReLU(UpSample(CHANNELS, 4), 4)
        self.pred_up3_1 = ConvNormPReLU(UpSample(CHANNELS, 8), 8)
        if downsample_twice:
            self.pred_up1 = ConvNormPReLU(UpSample(CHANNELS, 2), 2)
            self.pred_up2_2 = ConvNormPReLU(UpSample(4, 4), 4)
            self.pred_up3_2 = ConvNormPReLU(UpSample(8, 8), 8)
        else:
            self.pred1 = nn.Conv2d(CHANNELS, 2, 3, padding=1, bias=False)
        self.final_pred = nn.Conv2d(14, 2, 3, padding=1, bias=False)

    @property
    def in_plane_multiple(self) -> int:
        """Height and width must be a multiple of this."""
        return 4 if self.downsample_twice else 2

    def forward(
        self,
        stack: Tensor,
        starts: Sequence[int],
        workspace: Workspace | None = None,
        window_slices: int = WINDOW_SLICES,
    ) -> Tensor:
        """Probability of the region for one batch of windows.

        Args:
            stack: ``[slices, 4, height, width]``, normalised; height and width multiples of ``in_plane_multiple``.
            starts: first slice of each window; together they cover the stack without a gap.
            workspace: buffers to use again from batch to batch.
            window_slices: of each window; 19 in CA-CNN, 9 at least.

        Returns:
            ``float32 [slices - 8, height, width]``, for all slices but four at either end.
        """
        workspace = workspace or Workspace()
        counts = [slice_counts(starts, level, window_slices) for level in range(5)]
        level2 = self._two_levels(stack.contiguous(memory_format=torch.channels_last), counts, workspace)
        level3, level4 = self._deep(level2, counts, workspace)
        return self._predict(level2.central(2), level3.central(1), level4, counts[4], workspace)

    def _two_levels(self, stack: Tensor, counts: list[Tensor], workspace: Workspace) -> Activated:
        slices, height, width = stack.shape[0], stack.shape[2], stack.shape[3]
        shape = (slices, CHANNELS, height, width)
        stream, branch = (workspace.buffer(f"full {name}", shape, stack) for name in ("stream", "branch"))
        features = self.block1_1(_measured(stack), branch, stream, counts[0])
        features = self.block1_2(features, branch, stream, counts[0])
        fused = self.fuse1(features, branch[:-2], counts[1], halo=2)
        if self.downsample_twice:
            halved = (slices - 2, CHANNELS, height // 2, width // 2)
            stream, branch = (workspace.buffer(f"half {name}", halved, stack) for name in ("stream", "branch"))
            features = self.downsample1(fused, stream, counts[1]).settle(stream)
        else:
            stream, branch = stream[:-2], branch[:-2]
            features = fused.settle(stream)
        features = self.block2_1(features, branch, stream, counts[1])
        features = self.block2_2(features, branch, stream, counts[1])
        return self.fuse2(features, branch[:-2], counts[2], halo=2)

    def _deep(self, level2: Activated, counts: list[Tensor], workspace: Workspace) -> tuple[Activated, Activated]:
        slices, channels, height, width = level2.values.shape
        shape = (slices, channels, height // 2, width // 2)
        stream, branch, fused = (
            workspace.buffer(f"deep {name}", shape, level2.values) for name in ("stream", "branch", "fused")
        )
        features = self.downsample2(level2, stream, counts[2]).settle(stream)
        for block in (self.block3_1, self.block3_2, self.block3_3):
            features = block(features, branch, stream, counts[2])
        level3 = self.fuse3(features, fused[:-2], counts[3], halo=2)
        stream, branch = stream[:-2], branch[:-2]
        features = level3.settle(stream)
        for block in (self.block4_1, self.block4_2, self.block4_3):
            features = block(features, branch, stream, counts[3])
        return level3, self.fuse4(features, branch[:-2], counts[4], halo=2)

    def _predict(
        self, level2: Activated, level3: Activated, level4: Activated, counts: Tensor, workspace: Workspace
    ) -> Tensor:
        def up(layer: ConvNormPReLU, name: str, source: Activated) -> Activated:
            slices, _, height, width = source.values.shape
            shape = (slices, layer.conv.out_channels, 2 * height, 2 * width)
            return layer(source, workspace.buffer(name, shape, source.values), counts)

        middle, deep = up(self.pred_up2_1, "middle 1", level3), up(self.pred_up3_1, "deep 1", level4)
        shallow = level2
        if self.downsample_twice:
            shallow = up(self.pred_up1, "shallow", level2)
            middle, deep = up(self.pred_up2_2, "middle 2", middle), up(self.pred_up3_2, "deep 2", deep)

        # The softmax of two classes is the sigmoid of their difference.
        difference = self.final_pred.weight[1:] - self.final_pred.weight[:1]
        logit = torch.empty((len(deep.values), *deep.values.shape[2:]), device=difference.device)

        def score(i: int, j: int) -> None:
            near = shallow.read(i, j) if self.downsample_twice else self.pred1(shallow.read(i, j))
            maps = torch.cat((near, middle.read(i, j), deep.read(i, j)), dim=1)
            logit[i:j] = functional.conv2d(maps, difference, padding=1)[:, 0]

        _in_pieces(logit, score)
        return logit.sigmoid_()


def placed(network: AnisotropicNet, device: torch.device, precision: torch.dtype) -> AnisotropicNet:
    """A copy on ``device`` with convolutions in ``precision``; normalisation keeps its float32 parameters."""
    network = copy.deepcopy(network).to(device)
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            cast(Any, module).to(dtype=precision, memory_format=torch.channels_last)  # missing in torch's type stubs
    return network
