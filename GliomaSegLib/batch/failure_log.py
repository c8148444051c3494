"""What a batch keeps besides the folders of results: the failures, and that somebody is at work.

A failure is a line of a file that only one process writes; a line that was cut off by a kill is passed over.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from GliomaSegLib.batch.cases import PRIVATE, CohortCase
from GliomaSegLib.errors import InputError


@dataclass(frozen=True)
class Shard:
    """The ``number``-th (from 1) of ``count`` parts of a cohort, for array jobs: every ``count``-th case."""

    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """For a file's name."""
        return f"{self.number}-of-{self.count}"

    def of(self, cases: tuple[CohortCase, ...]) -> tuple[CohortCase, ...]:
        """Its cases. They depend on nothing but the table, so that all parts together are all of it."""
        return cases[self.number - 1 :: self.count]


WHOLE = Shard()
"""Not divided."""


@dataclass(frozen=True)
class Failure:
    """That a case could not be done: the sentence, the kind of the error and the time (seconds since 1970)."""

    case: str
    key: str
    kind: str
    sentence: str
    when: float


class FailureLog:
    """The failures that this process adds."""

    def __init__(self, output: Path, shard: Shard) -> None:
        self._path = output / PRIVATE / f"failures-{shard.name}.jsonl"

    def add(self, case: CohortCase, kind: str, sentence: str) -> None:
        """Write a failure down, safely on the disk.

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
    """The last failure of every case, of all processes that have worked on it, by :attr:`CohortCase.key`."""
    last: dict[str, Failure] = {}
    for path in sorted((output / PRIVATE).glob("failures-*.jsonl")):
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError, TypeError):
                failure = Failure(**json.loads(line))
                if failure.key not in last or last[failure.key].when <= failure.when:
                    last[failure.key] = failure
    return last


@contextlib.contextmanager
def at_work(output: Path, shard: Shard) -> Iterator[None]:
    """Nobody else works on the same cases while the block runs; a kill ends that too.

    Raises:
        InputError: somebody does, or the folder cannot be written.
    """
    folder = output / PRIVATE
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f"shard-{shard.name}.lock", timeout=0):
            _check_parts(folder, shard)
            yield
    except Timeout as error:
        what = "" if shard.count == 1 else f" the part {shard.number}/{shard.count} of"
        raise InputError(
            f"Another batch is at work on{what} {output}; wait until it has finished, or end it."
        ) from error
    except OSError as error:
        raise InputError(
            f"{output} cannot be written ({error.strerror}); name a folder where you may write."
        ) from error


def _check_parts(folder: Path, shard: Shard) -> None:
    """Parts of another division would have cases in common with this one."""
    for path in folder.glob("shard-*.lock"):
        if not path.stem.endswith(f"-of-{shard.count}"):
            with FileLock(path, timeout=0):
                pass
