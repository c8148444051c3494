"""neuronets/ams: meningioma on T1 with contrast, published as a Keras model in an HDF5 file.

Of the file only numbers are taken, and of the network's description (JSON) which layers there are; a layer that could
hold code (Lambda) or any other that nobrainer's U-Net lacks is refused. The package ``h5py`` is needed to install the
model, not to run it.

Its own program brings the image to FreeSurfer's conformed space (256 voxels of 1 mm per axis, 256 grey values), scales
it to mean 0 and standard deviation 1 and shows the network its eight halves of halves, which do not overlap.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from torch import Tensor, nn

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.inference.windows import Windows
from GliomaSegLib.networks.nobrainer_unet import NobrainerUNet
from GliomaSegLib.preprocessing.cropping import Box
from GliomaSegLib.zoo.checkpoint import fill, read_converted, the_only
from GliomaSegLib.zoo.inference_spec import contract_of, precision_of

if TYPE_CHECKING:
    import h5py

Array = NDArray[np.float32]

_LAYERS = {
    "InputLayer",
    "Conv3D",
    "Conv3DTranspose",
    "BatchNormalization",
    "Activation",
    "MaxPooling3D",
    "Concatenate",
}
_NORMALISATION = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
_BRIGHTEST_PERCENTILE = 99.9  # FreeSurfer cuts off what is brighter
_GREY_VALUES = 255


def convert(source: Path, destination: Path) -> None:
    """Write the one Keras file (``.h5``) in the folder ``source`` into the safetensors file ``destination``.

    Raises:
        InputError: the package ``h5py`` is not there.
        WeightsError: there is no such file, it is damaged, or it is of another network.
    """
    try:
        import h5py
    except ImportError as error:
        raise InputError("Keras files are read with the package h5py, which is missing; run 'pip install h5py'.") from (
            error
        )
    published = the_only(source, "*.h5")
    try:
        with h5py.File(published, "r") as opened:
            activation = _activation(opened, published)
            tensors = dict(_named(opened["model_weights"], published))
    except (OSError, KeyError, ValueError) as error:
        raise WeightsError(f"The weight file {published} cannot be read as a Keras model; get it again.") from error
    normalised = any(name.startswith("normalisations") for name in tensors)
    network = NobrainerUNet(activation, normalised)
    counters = {name: value for name, value in network.state_dict().items() if name.endswith("num_batches_tracked")}
    fill(network, tensors | counters, published)
    description = json.dumps({"activation": activation, "normalised": normalised})
    save_file(tensors | counters, destination, {"network": description})


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run.

    Args:
        weights: the file that :func:`convert` wrote.
        parameters: the card's contract; of its own ``volume_voxels``, the edge of the conformed volume, and
            ``block_voxels``, that of what the network is shown.
        device: where to run; what does not fit there runs on the processor.
        precision: number format of the convolutions, where the card allows a lower one.

    Raises:
        WeightsError: the file is missing, damaged or of another network.
    """
    tensors, metadata = read_converted(weights)
    network = fill(NobrainerUNet(**json.loads(metadata.get("network", "{}"))), tensors, weights)
    volume = parameters["volume_voxels"]
    contract = dataclasses.replace(
        contract_of(parameters),
        prepare=partial(_conformed, edge=volume),
        windows=Windows((volume, volume, volume), overlap=0.5),
    )
    blocks = InBlocks(network, parameters["block_voxels"])
    return VolumeSegmenter([blocks], contract, device, precision_of(parameters, precision))


class InBlocks(nn.Module):
    """Standardises a volume ``[batch, 1, ...]`` and shows it to a network in blocks that do not overlap."""

    def __init__(self, network: nn.Module, edge: int) -> None:
        super().__init__()
        self.network, self.edge = network, edge

    def forward(self, volume: Tensor) -> Tensor:
        volume = (volume - volume.mean()) / volume.std(correction=0)
        return self._along(2, volume)

    def _along(self, axis: int, part: Tensor) -> Tensor:
        if axis == part.ndim:
            return self.network(part)
        return torch.cat([self._along(axis + 1, piece) for piece in part.split(self.edge, axis)], axis)


def _conformed(stack: Array, edge: int) -> tuple[Array, Box]:
    """The middle of the image, at most ``edge`` voxels per axis, in 256 grey values as FreeSurfer's conform makes them.

    Raises:
        InputError: the image is empty.
    """
    box = tuple(slice(first := max(size - edge, 0) // 2, first + min(size, edge)) for size in stack.shape[1:])
    inside = stack[(slice(None), *box)]
    if not inside.any():
        raise InputError("The image is empty (all zero) in its middle; check the file.")
    brightest = np.percentile(inside[inside > 0], _BRIGHTEST_PERCENTILE)
    return np.rint(np.clip(inside / brightest, 0, 1) * _GREY_VALUES).astype(np.float32), (box[0], box[1], box[2])


def _activation(opened: h5py.File, source: Path) -> str:
    """The activation of all layers but the last, after a look at what layers there are."""
    description = json.loads(opened.attrs["model_config"])
    layers = description["config"]["layers"]
    if foreign := sorted({str(layer["class_name"]) for layer in layers} - _LAYERS):
        raise WeightsError(f"{source} has a layer '{foreign[0]}', which nobrainer's U-Net lacks; it was not used.")
    used = [layer["config"]["activation"] for layer in layers if layer["class_name"] == "Activation"]
    if len(set(used[:-1])) != 1 or used[0] not in ("relu", "elu") or used[-1] != "sigmoid":
        raise WeightsError(f"{source} has the activations {sorted(set(used))}; nobrainer's U-Net has others.")
    return used[0]


def _named(weights: h5py.Group, source: Path) -> Iterator[tuple[str, Tensor]]:
    """The tensors of the layers in their order, by the names of :class:`NobrainerUNet`."""
    convolutions = normalisations = 0
    for layer in map(_text, weights.attrs["layer_names"]):
        own = {_text(name): weights[layer][_text(name)] for name in weights[layer].attrs["weight_names"]}
        values = {name.rpartition("/")[2].partition(":")[0]: np.asarray(value) for name, value in own.items()}
        if "kernel" in values:
            # [z, y, x, in, out], of a transposed convolution [z, y, x, out, in]; PyTorch has it the other way round
            kernel = values["kernel"].transpose(4, 3, 0, 1, 2).copy()
            yield f"convolutions.{convolutions}.weight", torch.from_numpy(kernel)
            yield f"convolutions.{convolutions}.bias", torch.from_numpy(values["bias"])
            convolutions += 1
        elif values.keys() == _NORMALISATION.keys():
            for theirs, ours in _NORMALISATION.items():
                yield f"normalisations.{normalisations}.{ours}", torch.from_numpy(values[theirs])
            normalisations += 1
        elif values:
            raise WeightsError(f"{source} has the tensor '{next(iter(own))}', which nobrainer's U-Net lacks.")


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else name
