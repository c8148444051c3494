"""A batch from its plan to its page: the workers' words are shown, failures are kept, and the page follows."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.batch.cases import SUMMARY, CohortCase
from GliomaSegLib.batch.display import Display
from GliomaSegLib.batch.failure_log import WHOLE, FailureLog, Shard, at_work, read_failures
from GliomaSegLib.batch.page import write_page
from GliomaSegLib.batch.plan import CaseStatus, Plan
from GliomaSegLib.batch.run import Workers, process
from GliomaSegLib.batch.summary import Line, State, Summary, write_summary

_PAUSE_S = 0.05
_REFRESH_S = 60.0  # the page is drawn at most so often while the batch runs


@dataclass(frozen=True)
class Outcome:
    """How the cases of the whole cohort stand now, other parts' included, and where that is told."""

    lines: tuple[Line, ...]
    page: Path
    table: Path

    def count(self, state: State) -> int:
        """So many cases stand so."""
        return sum(line.state is state for line in self.lines)


def run_batch(
    plan: Plan, everyone: Sequence[CohortCase], output: Path, workers: Workers, display: Display,
    shard: Shard = WHOLE, overwrite: bool = False,
) -> Outcome:  # fmt: skip
    """Do what is planned, and keep the table and the page up to date, also when it is stopped.

    Args:
        everyone: the cases of the whole cohort, for the page; the plan may be that of one part.
        overwrite: replace results of other jobs.

    Raises:
        InputError: another process does the same cases, or ``output`` cannot be written.
        Cancelled, KeyboardInterrupt: it was stopped; what is done stays, and nothing half-made is left.
    """
    with at_work(output, shard):
        journal, overview = FailureLog(output, shard), Overview(everyone, output, plan.source)
        for refused in plan.of(CaseStatus.REFUSED):
            journal.add(refused.case, "InputError", refused.case.refused or "")
        try:
            with display:
                _work(plan, workers, display, journal, overview, overwrite)
        finally:
            outcome = overview.close()
    return outcome


def _work(
    plan: Plan, workers: Workers, display: Display, journal: FailureLog, overview: Overview, overwrite: bool
) -> None:
    to_do = sorted(plan.of(CaseStatus.TO_DO), key=lambda one: one.model)  # a worker keeps one network loaded
    words = process([one.case for one in to_do], workers, overwrite)
    try:
        for word in words:
            if word is None:
                time.sleep(_PAUSE_S)
                continue
            if word.event.kind == "error":
                journal.add(word.case, word.kind, word.event.text)
            display.hear(word)
            if word.is_last:
                overview.refresh()
    finally:
        words.close()  # stops the workers when something else than they came up


class Overview:
    """The table and the page of a cohort, drawn again from the folders of results in a thread of their own."""

    def __init__(self, cases: Sequence[CohortCase], output: Path, source: Path) -> None:
        self._summary = Summary(cases)
        self._output, self._source = output, source
        self._thread = ThreadPoolExecutor(1, "GliomaSeg page")
        self._drawing: Future[Outcome] | None = None
        self._drawn = time.monotonic()

    def refresh(self) -> None:
        """Begin to draw them, unless that is going on or was done a short while ago."""
        if time.monotonic() - self._drawn > _REFRESH_S and (self._drawing is None or self._drawing.done()):
            self._drawn = time.monotonic()
            self._drawing = self._thread.submit(self._draw)

    def close(self) -> Outcome:
        """Draw them for the last time."""
        with self._thread as thread:
            return thread.submit(self._draw).result()

    def _draw(self) -> Outcome:
        lines = self._summary.lines(read_failures(self._output))
        write_summary(lines, self._output / SUMMARY)
        page = write_page(self._output, lines, self._source)
        return Outcome(tuple(lines), page, self._output / SUMMARY)
