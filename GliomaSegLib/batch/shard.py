"""Shards of a batch, for array jobs, and the lock against two processes with the same cases."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from GliomaSegLib.batch.cases import PRIVATE, BatchCase
from GliomaSegLib.errors import InputError


@dataclass(frozen=True)
class Shard:
    """Part ``number`` (from 1) of ``count`` parts of a batch: every ``count``-th case."""

    number: int = 1
    count: int = 1

    @property
    def name(self) -> str:
        """The name of the shard in file names."""
        return f"{self.number}-of-{self.count}"

    def of(self, cases: tuple[BatchCase, ...]) -> tuple[BatchCase, ...]:
        """The cases of the shard; they depend only on the list, so that all shards together are the whole batch."""
        return cases[self.number - 1 :: self.count]


WHOLE = Shard()
"""The whole batch as one shard."""


@contextlib.contextmanager
def locked(output: Path, shard: Shard) -> Iterator[None]:
    """Lock the shard against other processes during the block; the lock ends with the process.

    Raises:
        InputError: another process has locked it, or the folder cannot be written.
    """
    folder = output / PRIVATE
    lock = FileLock(folder / f"shard-{shard.name}.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        _check_parts(folder, shard)
    except Timeout as error:
        lock.release()
        what = "" if shard.count == 1 else f" the part {shard.number}/{shard.count} of"
        raise InputError(
            f"Another batch is at work on{what} {output}; wait until it has finished, or end it."
        ) from error
    except OSError as error:
        lock.release()
        raise InputError(
            f"{output} cannot be written ({error.strerror}); name a folder where you may write."
        ) from error
    try:
        yield
    finally:
        lock.release()


def _check_parts(folder: Path, shard: Shard) -> None:
    """Make sure that no shard of another division, which would share cases, is running."""
    for path in folder.glob("shard-*.lock"):
        if not path.stem.endswith(f"-of-{shard.count}"):
            with FileLock(path, timeout=0):
                pass
