"""Dispatch cases to workers, and yield their events in steps that a caller can poll.

The workers are processes on this machine (:mod:`~GliomaSegLib.batch.local`) or those of a cluster
(:mod:`~GliomaSegLib.batch.cluster`). Needs nothing but the standard library.
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
"""The error of a worker that ended without an answer; all others are the answer to this case."""


@dataclass(frozen=True)
class CaseEvent:
    """An event of a case; a ``result`` or an ``error`` is its last.

    Attributes:
        result: of a ``result``, :class:`~GliomaSegLib.results.job_result.JobResult` as JSON; without ``files`` when
            another process made it (:func:`~GliomaSegLib.batch.cases.stored_result`).
        error: of an ``error``, its name, as of :attr:`~GliomaSegLib.worker.client.WorkerError.kind`.
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
"""``None`` when there is no event yet and the caller may go on with something else for a moment.

A :class:`~GliomaSegLib.errors.Cancelled` that is thrown in stops the workers; it ends when they have cleared up.
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
    """Segment every case that is not done; each has one last event, those that are done or refused at once.

    What a killed writer had left of them is deleted first.

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
    # One look at the folder for all of them: on a network drive a thousand would take minutes.
    if parent.is_dir() and any(one.suffix in (".partial", ".old") for one in parent.iterdir()):
        for case in cases:
            clear_up(case.output, unfinished(case.output))


def settled(case: BatchCase, overwrite: bool) -> CaseEvent | None:
    """The last event of a case that needs no worker: it is refused, or done, or something else is in its place."""
    if case.refused:
        return CaseEvent(case, Event("error", case.refused), error="InputError")
    try:
        if is_done(case):
            return CaseEvent(case, Event("result"), stored_result(case.output))
        reason = blocking_reason(case, overwrite)
    except Exception as error:  # whatever is wrong with the folder: it concerns this case alone
        return CaseEvent(case, Event("error", damaged(case, error)), error="InputError")
    return CaseEvent(case, Event("error", reason), error="InputError") if reason else None


def failed(case: BatchCase, sentence: str, error: str, worker: str = "") -> CaseEvent:
    """The last event of a case that failed, unless another process, whose own batch was killed, has done it by now."""
    try:
        if is_done(case):
            return CaseEvent(case, Event("result"), stored_result(case.output))
    except Exception as damage:  # whatever is wrong with the folder: it concerns this case alone
        return CaseEvent(case, Event("error", damaged(case, damage)), error="InputError")
    return CaseEvent(case, Event("error", sentence), error=error, worker=worker)
