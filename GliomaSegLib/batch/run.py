"""Runs a planned batch: shows events, records failures, and keeps the table and the page up to date."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from GliomaSegLib.batch.cases import SUMMARY, BatchCase
from GliomaSegLib.batch.dispatch import CaseEvent, Workers, dispatch
from GliomaSegLib.batch.failure_log import FailureLog, read_failures
from GliomaSegLib.batch.overview_page import write_page
from GliomaSegLib.batch.plan import CaseStatus, Plan
from GliomaSegLib.batch.shard import WHOLE, Shard, locked
from GliomaSegLib.batch.summary import CaseState, CaseSummary, Summary, write_summary

_PAUSE_S = 0.05
_REFRESH_S = 60.0  # least time between two updates of the page


class Display(AbstractContextManager[Any], Protocol):
    """A context manager that shows a running batch."""

    def on_event(self, event: CaseEvent) -> None:
        """Show an event."""


@dataclass(frozen=True)
class Outcome:
    """The state of all cases, also of other shards, and the paths of page and table."""

    cases: tuple[CaseSummary, ...]
    page: Path
    table: Path

    def count(self, state: CaseState) -> int:
        """The number of cases in a state."""
        return sum(case.state is state for case in self.cases)


def run_batch(
    plan: Plan, everyone: Sequence[BatchCase], output: Path, workers: Workers, display: Display,
    shard: Shard = WHOLE, overwrite: bool = False,
) -> Outcome:  # fmt: skip
    """Run a plan, and update the table and the page, also when it is stopped.

    Args:
        everyone: the cases of the whole batch, for the page; the plan may be of one shard.
        overwrite: replace results of other jobs.

    Raises:
        InputError: another process works on the same cases, or ``output`` cannot be written.
        Cancelled, KeyboardInterrupt: it was stopped; completed cases are kept, and no partial ones are left.
    """
    with locked(output, shard):
        failures, overview = FailureLog(output, shard), Overview(everyone, output, plan.source)
        for refused in plan.of(CaseStatus.REFUSED):
            failures.add(refused.case, "InputError", refused.case.refused or "")
        try:
            with display:
                _run(plan, workers, display, failures, overview, overwrite)
        finally:
            outcome = overview.close()
    return outcome


def _run(
    plan: Plan, workers: Workers, display: Display, failures: FailureLog, overview: Overview, overwrite: bool
) -> None:
    to_do = sorted(plan.of(CaseStatus.TO_DO), key=lambda one: one.model)  # a worker keeps one network loaded
    events = dispatch([one.case for one in to_do], workers, overwrite)
    try:
        for event in events:
            if event is None:
                time.sleep(_PAUSE_S)
                continue
            if event.kind == "error":
                failures.add(event.case, event.error, event.text)
            display.on_event(event)
            if event.is_last:
                overview.refresh()
    finally:
        events.close()  # stops the workers if an exception ended the loop


class Overview:
    """Writes the table and the page of a batch from the folders of results, in a thread."""

    def __init__(self, cases: Sequence[BatchCase], output: Path, source: Path) -> None:
        self._summary = Summary(cases)
        self._output, self._source = output, source
        self._thread = ThreadPoolExecutor(1, "GliomaSeg page")
        self._drawing: Future[Outcome] | None = None
        self._drawn = time.monotonic()

    def refresh(self) -> None:
        """Start to write them, unless that is going on or was done in the last minute."""
        if time.monotonic() - self._drawn > _REFRESH_S and (self._drawing is None or self._drawing.done()):
            self._drawn = time.monotonic()
            self._drawing = self._thread.submit(self._draw)

    def close(self) -> Outcome:
        """Write them for the last time."""
        with self._thread as thread:
            return thread.submit(self._draw).result()

    def _draw(self) -> Outcome:
        cases = self._summary.cases(read_failures(self._output))
        write_summary(cases, self._output / SUMMARY)
        page = write_page(self._output, cases, self._source)
        return Outcome(tuple(cases), page, self._output / SUMMARY)
