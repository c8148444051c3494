"""Any network as an ONNX file, run by onnxruntime; a file whose weights are in further files is refused."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.zoo.loaders.onnx_session import onnx_session
from GliomaSegLib.zoo.loaders.whole_network import only_file, read_bytes, segmenter, write_bytes

_RANK = 5  # batch, channel and three axes


def convert(source: Path, destination: Path) -> None:
    """Keep the one ONNX file in the folder ``source``.

    Raises:
        WeightsError: there is none, it is damaged, or asks for files beside it.
        InputError: the package onnxruntime or onnx is missing.
    """
    path = only_file(source, {".onnx"})
    content = path.read_bytes()
    _checked(onnx_session(content, torch.device("cpu"), path), path)
    write_bytes(content, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run; see :func:`GliomaSegLib.zoo.loaders.whole_network.segmenter` for ``parameters``."""
    content = read_bytes(weights, parameters)
    session = _checked(onnx_session(content, device, weights), weights)
    return segmenter(_Session(session), parameters, weights, device, torch.float32, 2 * len(content))


def _checked(session: Any, source: Path) -> Any:
    if any(len(one.shape) != _RANK for one in session.get_inputs()):
        shapes = ", ".join(f"{one.name} {one.shape}" for one in session.get_inputs())
        raise WeightsError(
            f"{source} takes {shapes}; a network takes one image [batch, channel, three axes], or one per sequence."
        )
    return session


class _Session(nn.Module):
    """onnxruntime's session as a module. A network with an input per channel gets the channels in the card's order."""

    def __init__(self, session: Any) -> None:
        super().__init__()
        self._session = session
        self._names = [one.name for one in session.get_inputs()]

    def forward(self, images: Tensor) -> Tensor:
        given = np.ascontiguousarray(images.float().cpu().numpy())
        feeds = {self._names[0]: given}
        if len(self._names) > 1:
            feeds = {name: given[:, place : place + 1] for place, name in enumerate(self._names)}
        return torch.from_numpy(self._session.run(None, feeds)[0]).to(images.device)
