"""CA-CNN with the weights that its authors published for BraTS 2017.

Nine networks: whole tumour, core and enhancing tumour, each for axial, sagittal and coronal slices, published as
TensorFlow checkpoints (github.com/taigw/brats17, ``model17/``).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file

from GliomaSegLib import case
from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.cascade import PlaneModel, SliceCascade
from GliomaSegLib.inference.device import choose_precision, place
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.slices import Plane, SliceWindows, StackModel
from GliomaSegLib.labels import TUMOUR_REGIONS, Region
from GliomaSegLib.networks.ca_cnn import MARGIN_SLICES, WINDOW_SLICES, AnisotropicNet, Workspace, placed
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.checkpoint import below, fill, read_converted
from GliomaSegLib.zoo.tensor_bundle import read_tensor_bundle

CHANNEL_ORDER = (case.Modality.T2F, case.Modality.T1N, case.Modality.T1C, case.Modality.T2W)
BATCH_WINDOWS = 5

_REGIONS = {Region.WT: "wt", Region.TC: "tc", Region.ET: "en"}  # as in the published names
_PLANE_SUFFIX = {Plane.AXIAL: "", Plane.SAGITTAL: "sg", Plane.CORONAL: "cr"}
_LEAST_IN_PLANE = {
    Region.WT: {Plane.AXIAL: (180, 160), Plane.SAGITTAL: (160, 180), Plane.CORONAL: (160, 160)},
    Region.TC: dict.fromkeys(Plane, (96, 96)),
    Region.ET: dict.fromkeys(Plane, (96, 96)),
}

# Size of the buffers and intermediate results of a batch, in channels at full resolution: on a GPU, where layers are
# not processed in pieces, and on a CPU.
_BUFFER_CHANNELS = (300, 130)
_BYTES_PER_VOXEL = 80  # normalised, padded and turned sequences and probabilities

# TensorFlow's variable -> the parameter here, below a layer's name.
_PARAMETERS = (
    (re.compile(r"(block\d_\d)/bn_(\d)/(beta|gamma)"), r"\1.norm_\2.\3"),
    (re.compile(r"(block\d_\d)/prelu_acti_(\d)/(alpha)"), r"\1.norm_\2.\3"),
    (re.compile(r"(block\d_\d)/conv_(\d)/w"), r"\1.conv_\2.weight"),
    (re.compile(r"(\w+)_bn_prelu/bn_/(beta|gamma)"), r"\1.norm.\2"),
    (re.compile(r"(\w+)_bn_prelu/prelu_acti_/(alpha)"), r"\1.norm.\2"),
    (re.compile(r"(\w+)_bn_prelu/(?:de)?conv_/w"), r"\1.conv.weight"),
    (re.compile(r"(pred1|final_pred)/w"), r"\1.weight"),
)
# The optimiser's variables, and moving averages that training never updated.
_NOT_USED = re.compile(r"/Adam|/moving_|^beta\d_power$")


def convert(source: Path, destination: Path) -> None:
    """The nine checkpoints in the folder ``source`` as one file."""
    tensors: dict[str, torch.Tensor] = {}
    for region, letters in _REGIONS.items():
        for plane, suffix in _PLANE_SUFFIX.items():
            checkpoint = source / f"msnet_{letters}32{suffix}_20000.ckpt"
            parameters = _converted(checkpoint)
            _filled(region, parameters, checkpoint)  # which refuses tensors that the network does not have
            tensors |= {f"{_stage(region, plane)}.{name}": value for name, value in parameters.items()}
    save_file(tensors, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The cascade, ready to run; of the card's parameters ``views`` are the planes to fuse, by default all three.
    Statistics are always float32."""
    tensors, _metadata = read_converted(weights, parameters)
    planes = [Plane(name) for name in parameters.get("views", list(Plane))]
    return cascade(tensors, weights, CHANNEL_ORDER, planes, device, precision)


def cascade(
    tensors: Mapping[str, torch.Tensor],
    weights: Path,
    order: tuple[case.Modality, ...],
    planes: Sequence[Plane],
    device: torch.device,
    precision: torch.dtype,
    **how: Any,
) -> SliceCascade:
    """The cascade of the networks in ``tensors``, whose names begin with region and view, as in ``wt.axial.``.

    Args:
        weights: the file that they come from, for error messages.
        order: the sequences in channel order.
        how: arguments of :class:`~GliomaSegLib.inference.cascade.SliceCascade`.

    Raises:
        WeightsError: a network is missing, or is another one.
    """
    runtime = _Runtime(device, precision)
    stages: dict[Region, dict[Plane, PlaneModel]] = {}
    alone = all(name.startswith(f"{Region.WT.value.lower()}.") for name in tensors)
    for region in TUMOUR_REGIONS[:1] if alone else TUMOUR_REGIONS:
        stages[region] = {}
        for plane in planes:
            network = _filled(region, below(_stage(region, plane), tensors), weights, len(order))
            windows = SliceWindows(WINDOW_SLICES, MARGIN_SLICES, BATCH_WINDOWS, _LEAST_IN_PLANE[region][plane], 4)
            stages[region][plane] = PlaneModel(runtime.model(network), windows)
    return SliceCascade(order, stages, runtime.session, **how)


class _Runtime:
    """The device on which the nine networks run, and the buffers that they share."""

    def __init__(self, device: torch.device, precision: torch.dtype) -> None:
        self._wish = device, precision
        self._device, self._precision = device, precision
        self._loaded: list[AnisotropicNet] = []
        self._placed: list[AnisotropicNet] = []
        self._workspace = Workspace()

    def model(self, network: AnisotropicNet) -> StackModel:
        """``network`` as a function of arrays, to be called inside a :meth:`session`."""
        index = len(self._loaded)
        self._loaded.append(network.eval().requires_grad_(False))

        def run(stack: NDArray[np.float32], starts: Sequence[int]) -> NDArray[np.float32]:
            with torch.inference_mode():
                slices_first = torch.from_numpy(stack).transpose(0, 1).to(self._device, self._precision)
                return self._placed[index](slices_first, starts, self._workspace).cpu().numpy()

        return run

    @contextmanager
    def session(
        self, stage: Mapping[Plane, PlaneModel], shape: tuple[int, int, int], progress: Progress
    ) -> Iterator[tuple[str, str]]:
        """Move the networks to a device with room for a case of ``shape`` (z, y, x), until the end of the block.

        Gives the device and the precision of this case.
        """
        device, precision = self._wish
        self._device = place(device, _needed_bytes(stage, shape, device, precision), progress)
        self._precision = precision if self._device == device else choose_precision(self._device)
        # Copies of the float32 originals, so that an earlier case's precision leaves no trace.
        self._placed = [placed(network, self._device, self._precision) for network in self._loaded]
        try:
            yield str(self._device), str(self._precision).removeprefix("torch.")
        finally:
            self._placed, self._workspace = [], Workspace()


def _needed_bytes(
    stage: Mapping[Plane, PlaneModel], shape: tuple[int, int, int], device: torch.device, precision: torch.dtype
) -> int:
    """Most memory that a case takes, within 10 % of measurements: the network's buffers, input and output volumes."""
    shapes = [part.windows.padded_shape(plane.turned_shape(shape)) for plane, part in stage.items()]
    pixels = max(height * width for _, height, width in shapes)
    slices = BATCH_WINDOWS * (WINDOW_SLICES - 2 * MARGIN_SLICES) + 2 * MARGIN_SLICES
    network = slices * pixels * _BUFFER_CHANNELS[device.type == "cpu"] * precision.itemsize
    volumes = math.prod(shape) * _BYTES_PER_VOXEL if device.type != "cuda" else 0
    return network + volumes


def _filled(
    region: Region, parameters: Mapping[str, torch.Tensor], source: Path, channels: int = len(CHANNEL_ORDER)
) -> AnisotropicNet:
    network = AnisotropicNet(channels, downsample_twice=region is not Region.ET)
    return fill(network, parameters, source, "CA-CNN", "install the model again")


def _stage(region: Region, plane: Plane) -> str:
    return f"{region.value.lower()}.{plane.value}"


def _converted(checkpoint: Path) -> dict[str, torch.Tensor]:
    bundle = read_tensor_bundle(checkpoint, lambda name: not _NOT_USED.search(name))
    return {
        _parameter_name(name, checkpoint): torch.from_numpy(_pytorch_layout(values).copy())
        for name, values in bundle.items()
    }


def _parameter_name(variable: str, checkpoint: Path) -> str:
    below_network = variable.partition("/")[2]
    for pattern, name in _PARAMETERS:
        if match := pattern.fullmatch(below_network):
            return match.expand(name)
    raise WeightsError(f"The checkpoint {checkpoint} holds '{variable}', which CA-CNN lacks; use its own files.")


def _pytorch_layout(values: NDArray) -> NDArray:
    """``[slice, height, width, in, out]`` to ``[out, in, height, width]``; vectors stay.

    A transposed convolution has (out, in) last in TensorFlow and (in, out) first in PyTorch: the same permutation.
    """
    if values.ndim != 5:
        return values
    kernel = values.transpose(4, 3, 0, 1, 2)
    return kernel[:, :, 0] if kernel.shape[2] == 1 else kernel[..., 0]
