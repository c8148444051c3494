"""Have workers do the cases of a cohort, in steps that a caller can poll: what one says of a case, or nothing yet.

What does the cases is a :class:`Workers`: processes on this machine (:mod:`~GliomaSegLib.batch.local`) or a cluster's
(:mod:`~GliomaSegLib.batch.cluster`). Needs nothing but the standard library.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from GliomaSegLib.batch.cases import CohortCase, blocking_reason, is_done, stored_result
from GliomaSegLib.io.folder import clear_up, unfinished
from GliomaSegLib.worker.client import Event

STARTED = "starting"
"""The stage of a case that has just been given to a worker."""

CRASH = "WorkerError"
"""The kind of the error of a worker that ended without an answer; all others are the answer to this case."""


@dataclass(frozen=True)
class CaseEvent:
    """What was said of a case; a ``result`` or an ``error`` is the last.

    Attributes:
        result: of a ``result``, :class:`~GliomaSegLib.job.Result` as JSON; without ``files`` when another process made
            it (:func:`~GliomaSegLib.batch.cases.stored_result`).
        kind: of an ``error``, its name, as of :attr:`~GliomaSegLib.worker.client.WorkerError.kind`.
        worker: the worker that has it; may be empty.
    """

    case: CohortCase
    event: Event
    result: Mapping[str, Any] | None = None
    kind: str = ""
    worker: str = ""

    @property
    def is_last(self) -> bool:
        """Whether nothing more is said of the case."""
        return self.event.kind in ("result", "error")


CaseEvents = Generator[CaseEvent | None, None, None]
"""``None`` when there is nothing to tell and the caller may go on with something else for a moment.

A :class:`~GliomaSegLib.errors.Cancelled` that is thrown in stops the workers; it ends when they have cleared up.
"""


class Workers(Protocol):
    """Does cases, several at a time."""

    @property
    def count(self) -> int:
        """How many cases are done at once."""

    def segment(self, cases: Sequence[CohortCase], overwrite: bool) -> CaseEvents:
        """Do the cases; one that fails, or takes its worker with it, does not stop the others."""

    def close(self) -> None:
        """End what was started."""


def process(cases: Iterable[CohortCase], workers: Workers, overwrite: bool = False) -> CaseEvents:
    """Have every case done that is not; each gets one last word, those that are done or refused at once.

    What a killed writer had left of them is taken away first.

    Args:
        overwrite: replace results of other jobs, see :func:`~GliomaSegLib.batch.cases.blocking_reason`.
    """
    waiting = []
    for case in cases:
        word = settled(case, overwrite)
        if word is None:
            waiting.append(case)
        else:
            yield word
    for parent in {case.output.parent for case in waiting}:
        _clear_up([case for case in waiting if case.output.parent == parent], parent)
    yield from workers.segment(waiting, overwrite)


def _clear_up(cases: Iterable[CohortCase], parent: Path) -> None:
    # One look at the folder for all of them: on a network drive a thousand would take minutes.
    if parent.is_dir() and any(one.suffix in (".partial", ".old") for one in parent.iterdir()):
        for case in cases:
            clear_up(case.output, unfinished(case.output))


def settled(case: CohortCase, overwrite: bool) -> CaseEvent | None:
    """The last word on a case that needs no worker: it is refused, or done, or something is in the way."""
    if case.refused:
        return CaseEvent(case, Event("error", case.refused), kind="InputError")
    if is_done(case):
        return _done(case)
    in_the_way = blocking_reason(case, overwrite)
    return CaseEvent(case, Event("error", in_the_way), kind="InputError") if in_the_way else None


def failed(case: CohortCase, sentence: str, kind: str, worker: str = "") -> CaseEvent:
    """The last word on a case that failed, unless another process, whose own batch was killed, has done it by now."""
    return _done(case) if is_done(case) else CaseEvent(case, Event("error", sentence), kind=kind, worker=worker)


def _done(case: CohortCase) -> CaseEvent:
    try:
        return CaseEvent(case, Event("result"), stored_result(case.output))
    except (OSError, ValueError, LookupError) as error:
        sentence = f"The results in {case.output} are damaged ({error}); delete the folder and run the case again."
        return CaseEvent(case, Event("error", sentence), kind="InputError")
