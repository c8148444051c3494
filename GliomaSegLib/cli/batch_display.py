"""Shows a running batch on a terminal: a bar with the time left and the state of each worker, or lines for a log."""

from __future__ import annotations

import sys
import time

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from GliomaSegLib.batch.dispatch import CaseEvent
from GliomaSegLib.batch.plan import duration
from GliomaSegLib.batch.run import Display


class _Clock:
    """The time left, from the cases that have ended since the start.

    Args:
        at_once: so many of them run side by side.
    """

    def __init__(self, total: int, at_once: int) -> None:
        self.total, self._at_once = total, max(1, at_once)
        self.ended = 0
        self.began = time.monotonic()

    def left(self) -> str:
        """As a text; empty before the first case has ended, which also loads the network."""
        if not self.ended:
            return ""
        # The cases that run now are half done on average.
        running = min(self._at_once, self.total - self.ended)
        each = (time.monotonic() - self.began) / (self.ended + running / 2)
        return f"about {duration(each * (self.total - self.ended - running / 2))} left" if running else "done"


class LineDisplay:
    """For a log file: a line per case that ends."""

    def __init__(self, total: int, at_once: int) -> None:
        self._clock = _Clock(total, at_once)

    def __enter__(self) -> LineDisplay:
        return self

    def __exit__(self, *ended: object) -> None: ...

    def on_event(self, event: CaseEvent) -> None:
        """See :class:`~GliomaSegLib.batch.run.Display`."""
        if not event.is_last:
            return
        clock = self._clock
        clock.ended += 1
        outcome = event.text if event.kind == "error" else "done"
        elapsed = time.monotonic() - clock.began
        line = f"[{elapsed:7.1f} s] {clock.ended} of {clock.total} {event.case.name}: {outcome}"
        print(f"{line} ({left})" if (left := clock.left()) else line, file=sys.stderr, flush=True)


class BarDisplay:
    """Progress bars for a terminal."""

    def __init__(self, total: int, at_once: int) -> None:
        self._clock = _Clock(total, at_once)
        self._failed = 0
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=Console(stderr=True),
        )
        self._all = self._bar.add_task("cases", total=total, detail="")
        self._workers: dict[str, TaskID] = {}

    def __enter__(self) -> BarDisplay:
        self._bar.start()
        return self

    def __exit__(self, *ended: object) -> None:
        self._bar.stop()

    def on_event(self, event: CaseEvent) -> None:
        """See :class:`~GliomaSegLib.batch.run.Display`."""
        if event.is_last:
            self._end(event)
        elif event.kind == "stage":
            self._bar.update(self._line_of(event.worker), completed=0, detail=f"{event.case.name}: {event.text}")
        elif event.kind == "progress":
            self._bar.update(self._line_of(event.worker), completed=event.event.fraction)

    def _end(self, event: CaseEvent) -> None:
        self._clock.ended += 1
        if event.kind == "error":
            self._failed += 1
            text = f"{event.case.name}: {event.text}"
            self._bar.console.print(text, style="yellow", highlight=False, soft_wrap=True, markup=False)
        failed = f"{self._failed} failed" if self._failed else ""
        self._bar.update(
            self._all, completed=self._clock.ended, detail=", ".join(filter(None, (self._clock.left(), failed)))
        )

    def _line_of(self, worker: str) -> TaskID:
        if worker not in self._workers:
            self._workers[worker] = self._bar.add_task(f"  {worker}", total=1.0, detail="")
        return self._workers[worker]


def display_for_stderr(total: int, at_once: int) -> Display:
    """Bars when standard error is a terminal, else plain lines."""
    return BarDisplay(total, at_once) if sys.stderr.isatty() else LineDisplay(total, at_once)
