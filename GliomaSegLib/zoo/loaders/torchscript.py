"""Any network as a TorchScript file (``torch.jit.save``).

A TorchScript file is a program that can call only torch's operations. Its code is checked before it is loaded, and
refused if it does what no network needs: read or write files, print, call operations from outside torch, or run methods
during loading. Only the checked parts are written to a new zip file for torch, which reads zip files differently
from Python. That file is first loaded in another process: extremely nested values and expressions crash torch.
"""

from __future__ import annotations

import ast
import io
import pickletools
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.zoo.loaders.whole_network import only_file, read_bytes, segmenter, write_bytes

_SUFFIXES = {".ts", ".pt", ".pth"}
_PARTS = re.compile(r"[^/]+/((data|constants)\.pkl|(data|constants)/\d+|(\.data/)?version|byteorder|code/[\w/]+\.py)")
_UNWANTED = re.compile(r"from_file\w*|save|load|_?print|rpc_\w+|\w*PythonOp|__[gs]etstate__")
_MOST_TIMES_LARGER, _SMALL_BYTES = 4, 64 << 20  # the code alone is compressed
_TRIAL = "import io, sys, torch; torch.jit.load(io.BytesIO(sys.stdin.buffer.read()), map_location='cpu')"
_TRIAL_S = 300


def convert(source: Path, destination: Path) -> None:
    """Keep the one TorchScript file (``.ts``, ``.pt``, ``.pth``) in the folder ``source``.

    Raises:
        WeightsError: there is none, it is no TorchScript, or its code does what a network has no need of.
    """
    path = only_file(source, _SUFFIXES)
    content = path.read_bytes()
    _loaded(content, path)
    write_bytes(content, destination)


def load(weights: Path, parameters: Mapping[str, Any], device: torch.device, precision: torch.dtype) -> Segmenter:
    """The network, ready to run; see :func:`GliomaSegLib.zoo.loaders.whole_network.segmenter` for ``parameters``."""
    content = read_bytes(weights, parameters)
    return segmenter(_loaded(content, weights), parameters, weights, device, precision, 2 * len(content))


def _loaded(content: bytes, source: Path) -> torch.jit.ScriptModule:
    try:
        parts = _parts(content)
    except (zipfile.BadZipFile, ValueError, OSError, RuntimeError, NotImplementedError) as error:
        raise WeightsError(f"{source} is no TorchScript file; write it with 'torch.jit.save'.") from error
    if not any(name.endswith(".py") for name in parts):
        raise WeightsError(
            f"{source} holds tensors and no TorchScript; write the network itself with 'torch.jit.save'."
        )
    for name, part in parts.items():
        if name.endswith((".py", ".pkl")) and (found := next(_unwanted(name, part), None)):
            raise WeightsError(
                f"{source} was not loaded: its code ({name}) has '{found}', which a network has no need of; get it "
                "from its author without."
            )
    packed = _packed(parts)
    try:
        _try_apart(packed)
        return torch.jit.load(io.BytesIO(packed), map_location="cpu").eval()
    except Exception as error:  # whatever torch raises over a malformed one
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{source} cannot be loaded as TorchScript ({reason}); write it anew.") from error


def _parts(content: bytes) -> dict[str, bytes]:
    """The records of the archive that torch needs, by name; others are left out.

    Raises:
        ValueError: it would expand to many times its size.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        if sum(one.file_size for one in archive.infolist()) > _MOST_TIMES_LARGER * len(content) + _SMALL_BYTES:
            raise ValueError("it would grow to many times its size")
        return {name: archive.read(name) for name in archive.namelist() if _PARTS.fullmatch(name)}


def _packed(parts: Mapping[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, part in parts.items():
            archive.writestr(name, part)
    return stream.getvalue()


def _unwanted(name: str, part: bytes) -> Iterator[str]:
    """Names in a part of the code or the values that no network needs."""
    try:
        if name.endswith(".pkl"):
            classes = (
                str(argument) for operation, argument, _ in pickletools.genops(part) if operation.name == "GLOBAL"
            )
            yield from (one for one in classes if ".classes." in one)
        else:
            yield from _unwanted_in_code(ast.parse(part.decode("ascii")))
    except (ValueError, SyntaxError, RecursionError, MemoryError) as error:
        yield f"what cannot be read ({type(error).__name__})"


def _unwanted_in_code(code: ast.Module) -> Iterator[str]:
    """Found by name, whatever kind of name it is: an operation may be ``torch.save(x)``, ``x.save()`` or an alias."""
    foreign = _foreign()
    after: dict[ast.AST, str] = {}  # what is looked up in a node
    for node in ast.walk(code):  # from the outside inwards
        name = next((getattr(node, field) for field in ("attr", "id", "name") if hasattr(node, field)), None)
        looked_up = isinstance(node, ast.Attribute)
        if isinstance(node, ast.Attribute):
            after[node.value] = node.attr
        if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "getattr":
            name, looked_up = getattr(node.args[-1], "value", None) if node.args else None, True
            if not isinstance(name, str):
                yield "getattr without a name"
        if name == "torch" and after.get(node, "classes") in ("classes", "ops"):
            yield f"torch.{after.get(node, '')}"
        elif isinstance(name, str) and (
            _UNWANTED.fullmatch(name) or (looked_up and name in foreign and _root(node) != "__torch__")
        ):
            yield name


@cache
def _foreign() -> frozenset[str]:
    """The names of the collections of operations that are not torch's own."""
    return frozenset(one.name.partition("::")[0] for one in torch._C._jit_get_all_schemas()) - {"aten", "prim"}


def _root(node: ast.AST) -> str:
    """The first name of ``a.b.c``."""
    while isinstance(node, ast.Attribute):
        node = node.value
    return getattr(node, "id", "")


def _try_apart(packed: bytes) -> None:
    """Load the file in another process, which may crash.

    Raises:
        RuntimeError: that process has crashed, or has not ended in time.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _TRIAL], input=packed, capture_output=True, timeout=_TRIAL_S)
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("torch does not come to an end with it") from error
    if done.returncode not in (0, 1):  # 1: an exception, which will be raised here as well
        raise RuntimeError("torch crashes over it")
