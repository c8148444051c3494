"""Polls a run by a timer, so that the panel remains usable; with progress and cancel."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import qt

from GliomaSegLib.errors import GliomaSegError
from GliomaSegPanel.decisions.progress import ProgressState
from GliomaSegPanel.decisions.situation import Work
from GliomaSegPanel.translation import _

POLL_MS = 100


class Running(Protocol):
    """A run of the scene's logic (:class:`GliomaSegLib.scene.run.Run`)."""

    done: bool

    def poll(self) -> list[Any]:
        """The events since the last call."""

    def wait(self) -> Any:
        """Its result; raises the error if it failed."""

    def cancel(self) -> None:
        """Stop it."""


class Runner:
    """Follows one run at a time.

    Args:
        on_changed: called when a run begins, is cancelled or has ended.
        on_progress: called ten times per second during a run; must be fast.
    """

    def __init__(self, on_changed: Callable[[], None], on_progress: Callable[[], None]) -> None:
        self.work: Work | None = None
        self.progress = ProgressState()
        self.warnings: list[str] = []
        self.cancelling = False
        self._on_changed, self._on_progress = on_changed, on_progress
        self._running: Running | None = None
        self._began = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def seconds(self) -> int:
        """Seconds since the start of the run."""
        return int(time.monotonic() - self._began)

    def follow(
        self,
        work: Work,
        running: Running,
        on_success: Callable[[Any], None],
        on_error: Callable[[GliomaSegError], None],
    ) -> None:
        """Follow ``running`` until it is done, then call ``on_success`` with its result or ``on_error``."""
        self.work, self._running = work, running
        self.progress, self.warnings, self.cancelling = ProgressState(work), [], False
        self.progress.enter("starting" if work is Work.SEGMENT else work.value)
        self._on_success, self._on_error = on_success, on_error
        self._began = time.monotonic()
        self._timer.start()
        self._on_changed()

    def cancel(self) -> None:
        """Ask the run to stop; it counts as running until it has stopped."""
        if self._running is not None and not self.cancelling:
            self.cancelling = True
            self._running.cancel()
            self._on_changed()

    def stop_following(self) -> None:
        """Stop polling, when the panel is destroyed; the logic ends the run."""
        self._timer.stop()
        self._running = self.work = None

    def _poll(self) -> None:
        running = self._running
        if running is None:
            return
        for event in running.poll():
            if event.kind == "stage":
                self.progress.enter(event.text)
            elif event.kind == "progress" and event.fraction is not None:
                self.progress.advance(event.fraction, event.text)
            elif event.kind == "warning":
                self.warnings.append(event.text)
        if running.done:
            self._timer.stop()
            qt.QTimer.singleShot(0, lambda: self._end(running))  # after the events that have queued up meanwhile
        self._on_progress()

    def _end(self, running: Running) -> None:
        if self._running is not running:
            return
        self._running = self.work = None
        try:
            self._report(running)
        finally:
            self._on_changed()

    def _report(self, running: Running) -> None:
        try:
            result = running.wait()
        except GliomaSegError as error:
            self._on_error(error)
        except Exception as error:  # a defect of GliomaSeg, which the run has written to the application's log
            sentence = _("GliomaSeg failed unexpectedly ({error}); the error log tells more.").format(error=error)
            self._on_error(GliomaSegError(sentence))
        else:
            self._on_success(result)
