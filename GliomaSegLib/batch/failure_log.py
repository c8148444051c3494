"""Stores the failures of a batch beside the folders of results.

Each failure is a line of a file that only one process writes; an incomplete line, after a kill, is ignored.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from GliomaSegLib.batch.cases import PRIVATE, BatchCase
from GliomaSegLib.batch.shard import Shard
from GliomaSegLib.errors import InputError


@dataclass(frozen=True)
class Failure:
    """A case that failed: its name and key, class and sentence of the error, and the Unix time in seconds."""

    case: str
    key: str
    kind: str
    sentence: str
    when: float


class FailureLog:
    """The file to which this process appends failures."""

    def __init__(self, output: Path, shard: Shard) -> None:
        self._path = output / PRIVATE / f"failures-{shard.name}.jsonl"

    def add(self, case: BatchCase, kind: str, sentence: str) -> None:
        """Append a failure; it is on the disk when this returns.

        Raises:
            InputError: the file cannot be written.
        """
        line = json.dumps(asdict(Failure(case.name, case.key, kind, sentence, time.time())))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as stream:
                stream.write(b"" if _ends_whole(self._path) else b"\n")
                stream.write(line.encode() + b"\n")
                stream.flush()
                os.fsync(stream.fileno())
        except OSError as error:
            raise InputError(f"{self._path} cannot be written ({error.strerror}); check the disk.") from error


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as stream:
        stream.seek(max(0, path.stat().st_size - 1))
        return stream.read() in (b"", b"\n")


def read_failures(output: Path) -> dict[str, Failure]:
    """The last failure of every case by :attr:`BatchCase.key`, from the files of all processes."""
    last: dict[str, Failure] = {}
    for path in sorted((output / PRIVATE).glob("failures-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                failure = Failure(**json.loads(line))
                if failure.key not in last or last[failure.key].when <= failure.when:
                    last[failure.key] = failure
    return last
