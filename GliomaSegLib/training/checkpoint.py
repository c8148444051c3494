"""Checkpoints: the complete state from which a training resumes, written atomically."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from GliomaSegLib.errors import InputError
from GliomaSegLib.io.renaming import rename


def write_checkpoint(state: dict[str, Any], path: Path) -> None:
    """Write ``state`` (tensors, numbers, text and containers of them) atomically.

    Raises:
        InputError: it cannot be written; an earlier checkpoint is kept.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        with partial.open("wb") as stream:
            torch.save(state, stream)
            stream.flush()
            os.fsync(stream.fileno())
        rename(partial, path)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"The checkpoint {path} could not be written ({getattr(error, 'strerror', None) or error}); make room. An "
            "earlier one is still there."
        ) from error
    finally:
        partial.unlink(missing_ok=True)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read a checkpoint to the CPU; only tensors and plain values are unpickled.

    Raises:
        InputError: it is missing, damaged or no checkpoint of a training.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch.load raises any exception of the unpickler and the zip reader
        raise InputError(f"The checkpoint {path} cannot be read ({type(error).__name__}); name a sound one.") from error
    if not isinstance(state, dict) or "step" not in state:
        raise InputError(f"{path} is no checkpoint of 'gliomaseg train'; name the file 'last.pt' of a run.")
    return state
