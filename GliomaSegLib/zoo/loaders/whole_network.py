"""Networks with layers and weights in one file (TorchScript, ONNX): the file is stored unchanged, checked and run.

The file does not describe its inputs and outputs; the card does (sequences, spacing, normalisation, windows, output
channels). Where file and card contradict each other, the run fails with an error message.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.inference.volume import VolumeSegmenter
from GliomaSegLib.zoo.card_network import Output
from GliomaSegLib.zoo.checkpoint import read_converted
from GliomaSegLib.zoo.inference_spec import precision_of, spec_of

_BYTES = "network"

# Memory of a window per voxel, and besides: a generous estimate, since the layers of such a network are not known.
_BYTES_PER_VOXEL, _BASE_BYTES = 1500, 600 << 20


def only_file(source: Path, suffixes: Collection[str]) -> Path:
    """The one file below the folder ``source`` with one of the suffixes.

    Raises:
        WeightsError: there is none, or several.
    """
    found = sorted(path for path in source.rglob("*") if path.suffix.lower() in suffixes)
    if len(found) != 1:
        raise WeightsError(f"{source} holds {len(found)} files {', '.join(sorted(suffixes))}; give the one network.")
    return found[0]


def write_bytes(content: bytes, destination: Path) -> None:
    """The file of a network as one tensor of bytes, in a safetensors file."""
    save_file({_BYTES: torch.frombuffer(bytearray(content), dtype=torch.uint8)}, destination)


def read_bytes(weights: Path, parameters: Mapping[str, Any] | None = None) -> bytes:
    """What :func:`write_bytes` wrote; see :func:`GliomaSegLib.zoo.checkpoint.read_converted` for ``parameters``.

    Raises:
        WeightsError: the file is missing, damaged or of another family.
    """
    tensors, _ = read_converted(weights, parameters)
    if set(tensors) != {_BYTES}:
        raise WeightsError(f"{weights} does not hold one whole network; install the model again.")
    return tensors[_BYTES].numpy().tobytes()


class WholeNetwork(nn.Module):
    """A network of unknown origin, whose outputs are checked.

    Args:
        inner: maps images ``[1, channel, *window]`` to ``[1, class, *window]``, or to several; the first is used.
        classes: number of output channels that the card names.
        source: for error messages.
    """

    def __init__(self, inner: nn.Module, channels: int, classes: int, source: Path) -> None:
        super().__init__()
        self.inner, self._channels, self._classes, self._source = inner, channels, classes, source

    def forward(self, images: Tensor) -> Tensor:
        """See the class.

        Raises:
            WeightsError: the network does not accept the inputs of the card, or its output differs from the card.
        """
        shown = f"{self._channels} channels of {tuple(images.shape[2:])} voxels"
        try:
            answer = self.inner(images)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # TorchScript and onnxruntime have exceptions of their own
            reason = str(error).strip().rpartition("\n")[2][:200].rstrip(".")
            raise WeightsError(
                f"The network of {self._source} cannot take {shown}, as its card has it ({reason}); correct the card's "
                "'inputs.sequences', 'inference.patch' and 'inference.axes'."
            ) from error
        answer = answer[0] if isinstance(answer, (tuple, list)) else answer
        wanted = (len(images), self._classes, *images.shape[2:])
        if not isinstance(answer, Tensor) or tuple(answer.shape) != wanted:
            given = tuple(answer.shape) if isinstance(answer, Tensor) else type(answer).__name__
            raise WeightsError(
                f"The network of {self._source} answers {given} for {shown}, and its card says {wanted}; correct the "
                "card's 'output.channels'."
            )
        return answer


def segmenter(
    inner: nn.Module,
    parameters: Mapping[str, Any],
    weights: Path,
    device: torch.device,
    precision: torch.dtype,
    spare_bytes: int = 0,
) -> Segmenter:
    """The network in the card's windows.

    Args:
        parameters: of the card; of its own ``probabilities``: whether the network gives these and not logits.
        spare_bytes: memory besides that of a window.
    """
    output: Output = parameters["output"]
    spec = spec_of(parameters)
    spec = dataclasses.replace(spec, windows=dataclasses.replace(spec.windows, one_size=True))
    if parameters.get("probabilities", False):
        spec = dataclasses.replace(spec, activate=lambda values: values)
    network = WholeNetwork(inner, len(parameters["sequences"]), len(output.channels), weights)

    def needed_bytes(window: tuple[int, int, int], _: torch.dtype) -> int:
        z, y, x = window
        return _BASE_BYTES + spare_bytes + _BYTES_PER_VOXEL * z * y * x

    return VolumeSegmenter([network], spec, device, precision_of(parameters, precision), needed_bytes)
