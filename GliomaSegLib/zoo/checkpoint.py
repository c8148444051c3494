"""Safe reading of untrusted PyTorch checkpoints: no code execution, crash or memory exhaustion.

A checkpoint is a pickle, which can contain code. All names in it are checked before loading: only tensors, plain values
and NumPy's numbers and arrays are accepted, which is stricter than ``torch.load`` with ``weights_only``. NumPy's
constructors are never called: an object array consists of pointers, which the file could set.
"""

from __future__ import annotations

import hashlib
import json
import pickle
import pickletools
import re
import zipfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save_file
from torch import Tensor, nn

from GliomaSegLib.errors import WeightsError

Network = TypeVar("Network", bound=nn.Module)

# Module and name of what a pickle may refer to.
_NAMES = re.compile(
    r"collections (OrderedDict|Counter)|(builtins|__builtin__) (set|complex)|_codecs encode"
    r"|torch (\w+Storage|Size|device|bool|(u?int|float|bfloat)\w+)|torch\.storage \w+Storage"
    r"|torch\._utils _rebuild_(tensor_v2|parameter|parameter_with_state)"
    r"|numpy (dtype|ndarray)|numpy\._?core\.multiarray (scalar|_reconstruct)"
)
_OTHER_WAYS_TO_NAME = ("STACK_GLOBAL", "INST", "OBJ", "NEWOBJ_EX", "EXT1", "EXT2", "EXT4", "PERSID")
_LEGACY_PICKLES = 5  # before its tensors a file that is no zip has a number, a version, the system, the content, keys
_MOST_SHARED = 16  # names that an ordinary network has for one tensor: nnU-Net's has four

# Kinds and sizes of numbers; neither objects nor fields.
_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|c8|c16")


class _Dtype:
    """``numpy.dtype`` in a checkpoint: a number's kind, size and byte order."""

    def __init__(self, name: str, align: bool = False, copy: bool = False) -> None:
        if not _DTYPE.fullmatch(name):
            raise pickle.UnpicklingError(f"a dtype '{name}'")
        self.numpy = np.dtype(name)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, order, *rest = state
        if order not in ("<", ">", "|", "=") or rest[:3] != [None, None, None]:
            raise pickle.UnpicklingError("a dtype with fields")
        self.numpy = self.numpy.newbyteorder(order)


class _NdArray:
    """``numpy.ndarray`` in a checkpoint: the kind of an array, and no way to make one."""

    def __new__(cls, *arguments: Any) -> _NdArray:
        raise pickle.UnpicklingError("an array that is made from a buffer")


class CheckpointArray:
    """An array of numbers in a checkpoint."""

    def __init__(self, kind: type, shape: Any, code: Any) -> None:
        if kind is not _NdArray:
            raise pickle.UnpicklingError("an array of another class")
        self._values: Any = np.zeros(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, by_columns, raw = state
        self._values = _numbers(dtype, raw).reshape(shape, order="F" if by_columns else "C")

    def __array__(self, *arguments: Any, **named: Any) -> Any:
        return np.array(self._values, *arguments, **named)

    def tolist(self) -> Any:
        """Python's own numbers in lists."""
        return self._values.tolist()


def _numbers(dtype: _Dtype, raw: bytes) -> Any:
    if type(dtype) is not _Dtype or type(raw) is not bytes:
        raise pickle.UnpicklingError("an array that is not of numbers")
    return np.frombuffer(raw, dtype.numpy)


def _number(dtype: _Dtype, raw: bytes) -> Any:
    return _numbers(dtype, raw)[0]


_ALLOWED: list[Any] = [(_Dtype, "numpy.dtype"), (_NdArray, "numpy.ndarray")]
for _module in ("numpy.core.multiarray", "numpy._core.multiarray"):  # of numpy 1 and 2
    _ALLOWED += [(_number, f"{_module}.scalar"), (CheckpointArray, f"{_module}._reconstruct")]


def read_checkpoint(path: Path) -> Any:
    """Read a PyTorch file to the CPU; arrays become :class:`CheckpointArray`.

    Raises:
        WeightsError: the file is missing, damaged, or contains more than tensors and plain values.
    """
    try:
        _check_names(path)
        with torch.serialization.safe_globals(_ALLOWED):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"The weight file {path} holds more than tensors and plain values, which could run as a program, so it was "
            "not opened; get it again from its publisher."
        ) from error
    except Exception as error:  # the readers of zip and pickle raise any exception for a malformed file
        raise WeightsError(f"The weight file {path} cannot be read; get it again from its publisher.") from error


def _check_names(path: Path) -> None:
    """Raise ``UnpicklingError`` for a checkpoint that refers to anything but what :data:`_NAMES` fits."""
    for pickled in _pickles(path):
        for operation, argument, _ in pickletools.genops(pickled):
            if operation.name in _OTHER_WAYS_TO_NAME or (
                operation.name == "GLOBAL" and not _NAMES.fullmatch(str(argument))
            ):
                raise pickle.UnpicklingError(f"{operation.name} {argument}")


def _pickles(path: Path) -> Iterator[IO[bytes]]:
    """The pickles in a checkpoint, which torch writes as a zip file without compression, and wrote one after another.

    Raises:
        ValueError: it is a zip file that would grow when it is unpacked.
    """
    if not zipfile.is_zipfile(path):
        with path.open("rb") as stream:
            for _ in range(_LEGACY_PICKLES):
                yield stream
        return
    with zipfile.ZipFile(path) as opened:
        entries = opened.infolist()
        if sum(one.file_size for one in entries) > path.stat().st_size or any(one.compress_type for one in entries):
            raise ValueError("it is compressed, as torch does not do")
        for one in entries:
            if one.filename.endswith(".pkl"):
                with opened.open(one) as stream:
                    yield stream


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
    if not isinstance(state, Mapping) or not state or not all(map(_is_stored, state.values())):
        raise WeightsError(f"{source} holds no network's tensors; get it again from its publisher.")
    if source.is_file() and sum(value.nbytes for value in state.values()) > _MOST_SHARED * source.stat().st_size:
        raise WeightsError(f"{source} would grow to many times its size, as no network does; do not use it.")
    return {str(name).removeprefix("module."): value.detach().clone() for name, value in state.items()}


def _is_stored(value: Any) -> bool:
    """Whether it is a tensor of numbers that are all in the file: an expanded one would take any memory when copied."""
    return (
        type(value) in (Tensor, nn.Parameter)
        and value.layout is torch.strided
        and value.device.type == "cpu"
        and not value.is_complex()
        and value.nbytes <= value.untyped_storage().nbytes()
    )


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


def read_converted(path: Path, parameters: Mapping[str, Any] | None = None) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the metadata of a safetensors file that a loader's ``convert`` wrote.

    The file is read once, so that what is loaded is what was hashed.

    Args:
        parameters: of a loader; their ``weights_sha256`` is the hash that was checked, if one was.

    Raises:
        WeightsError: the file is missing or damaged, or has another hash.
    """
    try:
        content = path.read_bytes()
        wanted = (parameters or {}).get("weights_sha256")
        if wanted and hashlib.sha256(content).hexdigest() != wanted:
            raise WeightsError(f"The weights {path} were exchanged after they had been checked; install them again.")
        tensors = load(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        return tensors, header.get("__metadata__") or {}
    except WeightsError:
        raise
    except Exception as error:  # whatever comes of a malformed file
        raise WeightsError(f"The weights {path} cannot be read ({error}); install the model again.") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file that a loader's ``convert`` wrote, without its tensors.

    Raises:
        WeightsError: the file is missing or damaged.
    """
    try:
        with safe_open(path, framework="pt") as stored:
            return stored.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"The weights {path} cannot be read ({error}); install the model again.") from error


def read_stages(
    path: Path, stages: Collection[str], parameters: Mapping[str, Any] | None = None
) -> dict[str, dict[str, Tensor]]:
    """The tensors of a file that :mod:`GliomaSegLib.training.export` wrote, by stage, as float32.

    Arguments and errors as for :func:`read_converted`.
    """
    tensors, _ = read_converted(path, parameters)
    tensors = {name: one.float() if one.is_floating_point() else one for name, one in tensors.items()}
    return {stage: below(stage, tensors) for stage in stages}


def copy_exported(source: Path, destination: Path, stages: Collection[str]) -> None:
    """Copy the one safetensors file that ``gliomaseg models add RUN`` wrote into the folder ``source``.

    Raises:
        WeightsError: there is no such file, it is damaged, or holds another model's tensors.
    """
    exported = the_only(source, "*.safetensors")
    tensors, _ = read_converted(exported)
    if foreign := next((name for name in tensors if name.partition(".")[0] not in stages), None):
        raise WeightsError(
            f"{exported} holds '{foreign}' and not the networks of this card ({', '.join(stages)}); add the run itself "
            "with 'gliomaseg models add RUN --id NAME'."
        )
    save_file(tensors, destination)


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
