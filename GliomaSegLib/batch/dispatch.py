"""Dispatches cases to workers, and yields their events, so that the caller can poll.

Workers are processes on this machine (:mod:`~GliomaSegLib.batch.local`) or on a cluster
(:mod:`~GliomaSegLib.batch.cluster`). Standard library only.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from GliomaSegLib.batch.cases import BatchCase, blocking_reason, damaged, is_done, stored_result
from GliomaSegLib.io.folder import clear_up, unfinished
from GliomaSegLib.worker.client import Event

STARTED = "starting"
"""The stage of a case that has just been given to a worker."""

CRASH = "WorkerError"
"""The error of a worker that ended without an answer; other errors are caused by the case."""


@dataclass(frozen=True)
class CaseEvent:
    """An event of a case; the last one is a ``result`` or an ``error``.

    Attributes:
        result: of a ``result``: :class:`~GliomaSegLib.results.job_result.JobResult` as JSON, without ``files`` if
            another process made it (:func:`~GliomaSegLib.batch.cases.stored_result`).
        error: of an ``error``: its class, as in :attr:`~GliomaSegLib.worker.client.WorkerError.kind`.
        worker: the worker that has the case; may be empty.
    """

    case: BatchCase
    event: Event
    result: Mapping[str, Any] | None = None
    error: str = ""
    worker: str = ""

    @property
    def kind(self) -> str:
        """See :class:`~GliomaSegLib.worker.client.Event`."""
        return self.event.kind

    @property
    def text(self) -> str:
        """See :class:`~GliomaSegLib.worker.client.Event`."""
        return self.event.text

    @property
    def is_last(self) -> bool:
        """Whether the case has ended."""
        return self.kind in ("result", "error")


CaseEvents = Generator[CaseEvent | None, None, None]
"""A generator of events; ``None`` means that there is none yet, and the caller may do something else.

A :class:`~GliomaSegLib.errors.Cancelled` thrown into it stops the workers; it ends when they have cleaned up.
"""


class Workers(Protocol):
    """Segments cases, several at a time."""

    @property
    def count(self) -> int:
        """How many cases are segmented at once."""

    def segment(self, cases: Sequence[BatchCase], overwrite: bool) -> CaseEvents:
        """Segment the cases; one that fails, or crashes its worker, does not stop the others."""

    def close(self) -> None:
        """End the processes that were started."""


def dispatch(cases: Iterable[BatchCase], workers: Workers, overwrite: bool = False) -> CaseEvents:
    """Segment every case that is not done. Each case has one last event; done or refused ones have it at once.

    Partial folders that a killed process has left are deleted first.

    Args:
        overwrite: replace results of other jobs, see :func:`~GliomaSegLib.batch.cases.blocking_reason`.
    """
    waiting = []
    for case in cases:
        last = settled(case, overwrite)
        if last is None:
            waiting.append(case)
        else:
            yield last
    for parent in {case.output.parent for case in waiting}:
        _clear_up([case for case in waiting if case.output.parent == parent], parent)
    yield from workers.segment(waiting, overwrite)


def _clear_up(cases: Iterable[BatchCase], parent: Path) -> None:
    # The folder is listed once, not per case, which would take minutes on a network drive.
    if parent.is_dir() and any(one.suffix in (".partial", ".old") for one in parent.iterdir()):
        for case in cases:
            clear_up(case.output, unfinished(case.output))


def settled(case: BatchCase, overwrite: bool) -> CaseEvent | None:
    """The last event of a case that needs no worker: it is refused, done or blocked; ``None`` for other cases."""
    if case.refused:
        return CaseEvent(case, Event("error", case.refused), error="InputError")
    try:
        if is_done(case):
            return CaseEvent(case, Event("result"), stored_result(case.output))
        reason = blocking_reason(case, overwrite)
    except Exception as error:  # of any kind, from a damaged folder; concerns this case only
        return CaseEvent(case, Event("error", damaged(case, error)), error="InputError")
    return CaseEvent(case, Event("error", reason), error="InputError") if reason else None


def failed(case: BatchCase, sentence: str, error: str, worker: str = "") -> CaseEvent:
    """The last event of a failed case, unless a process of a killed batch has completed it meanwhile."""
    try:
        if is_done(case):
            return CaseEvent(case, Event("result"), stored_result(case.output))
    except Exception as damage:  # of any kind, from a damaged folder; concerns this case only
        return CaseEvent(case, Event("error", damaged(case, damage)), error="InputError")
    return CaseEvent(case, Event("error", sentence), error=error, worker=worker)
