"""Any network as a TorchScript file (``torch.jit.save``).

TorchScript is a program, if one of torch's operations alone. Before it is loaded its code is read, and refused where it
does what a network has no need of: files, operations from elsewhere than torch, methods that run while it is loaded.
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.inference.segmenter import Segmenter
from GliomaSegLib.zoo.loaders.whole_network import only_file, read_bytes, segmenter, write_bytes

_SUFFIXES = {".ts", ".pt", ".pth"}
_UNWANTED = re.compile(r"\bops\.(?!prim\b|aten\b)\w+|\btorch\.(?:from_file|save|load|_save\w*)\b|def __setstate__")


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
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            parts = {name: archive.read(name) for name in archive.namelist() if name.endswith(".py")}
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
        raise WeightsError(f"{source} is no TorchScript file; write it with 'torch.jit.save'.") from error
    if not parts:
        raise WeightsError(
            f"{source} holds tensors and no TorchScript; write the network itself with 'torch.jit.save'."
        )
    for name, code in parts.items():
        if found := _UNWANTED.search(code.decode("utf-8", "replace")):
            raise WeightsError(
                f"{source} was not loaded: its code ({name}) has '{found[0]}', which a network has no need of; get it "
                "from its author without."
            )
    try:
        return torch.jit.load(io.BytesIO(content), map_location="cpu").eval()
    except (RuntimeError, ValueError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise WeightsError(f"{source} cannot be loaded as TorchScript ({reason}); write it anew.") from error
