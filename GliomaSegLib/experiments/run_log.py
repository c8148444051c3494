"""A file of runs (JSON lines): each run is added when it ends, so that a stopped experiment can be resumed."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import ValidationError

from GliomaSegLib.errors import InputError
from GliomaSegLib.experiments.definition import Run

_BEGINNING = b'{"model":'  # of every line


def read_runs(path: Path) -> list[Run]:
    """The runs in the file; a last line that a killed process left without its end is cut off.

    Raises:
        InputError: the file cannot be read or is not such a file.
    """
    try:
        *lines, unfinished = path.read_bytes().split(b"\n")
    except OSError as error:
        raise InputError(f"The kept runs in {path} cannot be read; name another file.") from error
    if unfinished and not unfinished.startswith(_BEGINNING[: len(unfinished)]):
        lines.append(unfinished)  # of another program, and not to be cut
    runs = []
    for number, line in enumerate(lines, 1):
        try:
            runs.append(Run.model_validate_json(line))
        except ValidationError as error:
            raise InputError(f"{path}, line {number}, is no run of an experiment; name another file.") from error
    if unfinished:
        with path.open("r+b") as stream:
            stream.truncate(path.stat().st_size - len(unfinished))
    return runs


def append_run(run: Run, path: Path) -> None:
    """Add a run; it is on the disk when this returns.

    Raises:
        InputError: the file cannot be written.
    """
    try:
        with path.open("a", encoding="utf-8") as stream:
            stream.write(run.model_dump_json() + "\n")
            stream.flush()
            os.fsync(stream.fileno())
    except OSError as error:
        raise InputError(f"The run cannot be kept in {path} ({error.strerror}); name another file.") from error
