"""Safe reading of PyTorch checkpoints: no code in them is run.

A checkpoint is a pickle, and a pickle can hold code. Only tensors, plain values and numpy's numbers and arrays are
loaded (``torch.load`` with ``weights_only``); any other file is refused.
"""

from __future__ import annotations

import importlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from GliomaSegLib.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)

_MULTIARRAY: Any = importlib.import_module("numpy._core.multiarray")  # ``numpy.core`` in files of numpy 1

# What training programs leave in a checkpoint beside tensors: a best score, an epoch, a learning rate's history.
_ALLOWED: list[Any] = [
    (_MULTIARRAY.scalar, "numpy.core.multiarray.scalar"),
    _MULTIARRAY.scalar,
    (_MULTIARRAY._reconstruct, "numpy.core.multiarray._reconstruct"),
    _MULTIARRAY._reconstruct,
    np.ndarray,
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64", "int32", "bool")),
]


def read_checkpoint(path: Path) -> Any:
    """The content of a PyTorch file, its tensors on the processor.

    Raises:
        WeightsError: the file is missing, damaged, or holds something else than tensors and plain values.
    """
    try:
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The weight file {path} holds more than tensors and plain values, which could run as a program, so it was "
            "not opened; get it again from its publisher."
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise WeightsError(f"The weight file {path} cannot be read; get it again from its publisher.") from error


def the_only(folder: Path, pattern: str) -> Path:
    """The one file below ``folder`` that matches ``pattern``.

    Raises:
        WeightsError: there is none, or several.
    """
    found = sorted(folder.rglob(pattern))
    if len(found) != 1:
        raise WeightsError(
            f"{folder} holds {len(found)} files {pattern} and should hold one; give the folder with the published file."
        )
    return found[0]


def state_dict(checkpoint: Any, source: Path, *keys: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, which are below one of ``keys`` or are all there is.

    The prefix ``module.`` that training on several GPUs puts before each name is removed.

    Raises:
        WeightsError: there are no named tensors.
    """
    state = next((checkpoint[key] for key in keys if isinstance(checkpoint, Mapping) and key in checkpoint), checkpoint)
    if not isinstance(state, Mapping) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise WeightsError(f"{source} holds no network's tensors; get it again from its publisher.")
    return {str(name).removeprefix("module."): value.detach().clone() for name, value in state.items()}


def published_tensors(folder: Path, pattern: str, *keys: str) -> tuple[dict[str, Tensor], Path]:
    """The tensors of the one PyTorch file below ``folder`` that matches ``pattern`` (see :func:`state_dict`), and its
    path.

    Raises:
        WeightsError: there is no such file, or several; it is damaged, or holds more than tensors and plain values.
    """
    published = the_only(folder, pattern)
    return state_dict(read_checkpoint(published), published, *keys), published


def below(stage: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``stage`` and a dot, by the rest of their names."""
    return {name.removeprefix(f"{stage}."): value for name, value in tensors.items() if name.startswith(f"{stage}.")}


def read_converted(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file that a loader's ``convert`` wrote.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            return {name: stored.get_tensor(name) for name in stored.keys()}, stored.metadata() or {}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The weights {path} cannot be read ({error}); install the model again.") from error


def fill(
    network: Network,
    tensors: Mapping[str, Tensor],
    source: Path,
    name: str = "this network",
    remedy: str = "get the file again from its publisher",
) -> Network:
    """``network`` with the weights ``tensors``.

    Args:
        source: where they come from, ``name`` whose they should be, and ``remedy`` what to do: for the error message.

    Raises:
        WeightsError: names or shapes are not the network's; the sentence names the first that differs.
    """
    expected = {name: tuple(value.shape) for name, value in network.state_dict().items()}
    given = {name: tuple(value.shape) for name, value in tensors.items()}
    wrong = sorted(key for key in expected.keys() | given.keys() if expected.get(key) != given.get(key))
    if wrong:
        first = wrong[0]
        raise WeightsError(
            f"{source} does not hold the weights of {name}: '{first}' is {given.get(first, 'missing')} and should be "
            f"{expected.get(first, 'absent')}; {remedy}."
        )
    network.load_state_dict(dict(tensors))
    return network
