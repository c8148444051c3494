"""Progress display on stderr: a bar in a terminal or a notebook, plain lines in a log file."""

from __future__ import annotations

import importlib.util
import math
import sys
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class TerminalProgress:
    """A progress bar with rich; used as a context manager, which removes the bar at the end."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self._bar = Progress(
            SpinnerColumn(),
            TextColumn("{task.description:<22}"),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}"),
            console=console,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> TerminalProgress:
        self._bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is None:
            self._finish()
        self._bar.stop()

    def stage(self, name: str) -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._finish()
        self._task = self._bar.add_task(name, total=1.0, detail="")

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        if self._task is not None:
            self._bar.update(self._task, completed=fraction, detail=detail)

    def warn(self, sentence: str) -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._bar.console.print("Warning:", sentence, style="yellow", highlight=False, soft_wrap=True, markup=False)

    def _finish(self) -> None:
        if self._task is not None:
            self._bar.update(self._task, completed=1.0, detail="")


class LineProgress:
    """Progress for a log file: one line when a stage begins, one per warning.

    Args:
        details_every_s: how often what a stage is doing makes a line of its own; never by default.
    """

    def __init__(self, details_every_s: float = math.inf) -> None:
        self._began = time.perf_counter()
        self._every, self._shown = details_every_s, -math.inf

    def __enter__(self) -> LineProgress:
        return self

    def __exit__(self, *ended: object) -> None: ...

    def stage(self, name: str) -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._shown = -math.inf
        self._say(name)

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        now = time.perf_counter()
        if detail and math.isfinite(self._every) and now - self._shown >= self._every:
            self._shown = now
            self._say(f"{100 * fraction:3.0f} %  {detail}")

    def warn(self, sentence: str) -> None:
        """See :class:`~GliomaSegLib.progress.Progress`."""
        self._say(f"Warning: {sentence}")

    def _say(self, text: str) -> None:
        print(f"[{time.perf_counter() - self._began:7.1f} s] {text}", file=sys.stderr, flush=True)


def progress_for_stderr(details_every_s: float = math.inf) -> TerminalProgress | LineProgress:
    """A bar when standard error is a terminal or in a notebook that has widgets, else plain lines; see
    :class:`LineProgress`."""
    notebook = Console().is_jupyter and importlib.util.find_spec("ipywidgets")
    return TerminalProgress() if sys.stderr.isatty() or notebook else LineProgress(details_every_s)
