"""Performs a request with its progress on standard error, and makes the table of time and memory per stage."""

from __future__ import annotations

import itertools
import sys
import time
from dataclasses import dataclass
from typing import Any

from GliomaSegLib.progress import Progress

# This module is among the first that a command imports. (The operating system's start time of the process is
# up to a second off on Linux, which knows its own boot time in whole seconds only.)
_BEGAN = time.perf_counter()


def perform_with_progress(request: Any, profile: bool = False) -> Any:
    """See :func:`GliomaSegLib.perform.perform`; its progress is shown on standard error.

    Args:
        profile: also show time and memory of each stage.
    """
    from GliomaSegLib.perform import perform
    from GliomaSegLib.terminal import progress_for_stderr

    with progress_for_stderr() as progress:
        if not profile:
            return perform(request, progress)
        costs = StageCosts(progress)
        performed = perform(request, costs)
    print(costs.table(), file=sys.stderr)
    return performed


@dataclass(frozen=True)
class _Mark:
    """The state of this process when a stage begins: its name, seconds of the clock and of the processors, bytes."""

    stage: str
    clock: float
    processors: float
    memory: int


class StageCosts:
    """A :class:`~GliomaSegLib.progress.Progress` that records time and memory of each stage, and forwards all calls."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._marks = [_Mark("start", _BEGAN, 0.0, 0)]  # imports, and reading the request
        self.advance, self.warn = listener.advance, listener.warn

    def stage(self, name: str) -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._marks.append(_mark(name))
        self._listener.stage(name)

    def table(self) -> str:
        """A line per stage and one for all: wall-clock and processor seconds, and the memory held when it ended."""
        marks = [*self._marks, _mark("end")]
        lines = [f"{'stage':<22} {'seconds':>8} {'CPU s':>8} {'MB then':>8}"]
        rows = list(itertools.pairwise(marks))
        for one, after in [*rows, (_Mark("all", marks[0].clock, 0.0, 0), marks[-1])]:
            lines.append(
                f"{one.stage:<22} {after.clock - one.clock:>8.1f} {after.processors - one.processors:>8.1f} "
                f"{after.memory / 1e6:>8.0f}"
            )
        return "\n".join(lines)


def _mark(stage: str) -> _Mark:
    import psutil

    return _Mark(stage, time.perf_counter(), time.process_time(), psutil.Process().memory_info().rss)
