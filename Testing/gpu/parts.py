"""A checkpoint in parts of a largest size, and together again: what comes back from a lent machine has limits."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from GliomaSegLib.errors import InputError

LARGEST_BYTES = 15 << 20
MOST_PARTS = 4  # of 64 MiB in all; the table and the curves come back beside them
_INDEX = "parts.json"


def split(checkpoint: Path, folder: Path, largest_bytes: int = LARGEST_BYTES) -> list[Path]:
    """Write ``part-1`` and so on and ``parts.json`` into ``folder``.

    Raises:
        InputError: there would be more than come back.
    """
    content = checkpoint.read_bytes()
    parts = [content[first : first + largest_bytes] for first in range(0, len(content), largest_bytes)]
    if len(parts) > MOST_PARTS:
        raise InputError(f"{checkpoint} has {len(content) >> 20} MiB, more than {MOST_PARTS} parts; it stays there.")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("part-*"):
        old.unlink()
    paths = [folder / f"part-{number}" for number in range(1, len(parts) + 1)]
    for path, part in zip(paths, parts, strict=True):
        path.write_bytes(part)
    about = {"name": checkpoint.name, "parts": len(parts), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / _INDEX).write_text(json.dumps(about), encoding="utf-8")
    return paths


def joined(folder: Path, destination: Path) -> Path:
    """Write the checkpoint whose parts are in ``folder`` into the folder ``destination``, in one move.

    Raises:
        InputError: a part is missing or damaged.
    """
    try:
        about = json.loads((folder / _INDEX).read_bytes())
        content = b"".join((folder / f"part-{number}").read_bytes() for number in range(1, about["parts"] + 1))
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"The parts of a checkpoint in {folder} are not complete ({error}); fetch them again."
        ) from error
    if hashlib.sha256(content).hexdigest() != about["sha256"]:
        raise InputError(f"The parts of a checkpoint in {folder} are damaged; fetch them again.")
    destination.mkdir(parents=True, exist_ok=True)
    partial = destination / f".{about['name']}.partial"
    partial.write_bytes(content)
    return partial.replace(destination / about["name"])
