"""What runs in the worker while the panel stays usable: polled by a timer, shown as a bar, cancelled at will."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Protocol

import qt

from GliomaSegLib.errors import GliomaSegError
from GliomaSegPanel.decisions import Bar, Work
from GliomaSegPanel.words import _

POLL_MS = 100


class Running(Protocol):
    """A run of the scene's logic or a task of the worker."""

    done: bool

    def poll(self) -> list[Any]:
        """The events since the last call."""

    def wait(self) -> Any:
        """What came of it; raises a sentence if it failed."""

    def cancel(self) -> None:
        """Stop it."""


class Runner:
    """Follows one piece of work at a time.

    Args:
        changed: called whenever there is something new to show.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self.work: Work | None = None
        self.bar = Bar()
        self.warnings: list[str] = []
        self.cancelling = False
        self._changed = changed
        self._running: Running | None = None
        self._began = 0.0
        self._timer = qt.QTimer()
        self._timer.setInterval(POLL_MS)
        self._timer.connect("timeout()", self._poll)

    @property
    def seconds(self) -> int:
        """Since it was started; some stages tell no progress of their own."""
        return int(time.monotonic() - self._began)

    def follow(
        self,
        work: Work,
        running: Running,
        succeeded: Callable[[Any], None],
        failed: Callable[[GliomaSegError], None],
    ) -> None:
        """Follow ``running`` until it is done, then call ``succeeded`` with what came of it or ``failed``."""
        self.work, self._running = work, running
        self.bar, self.warnings, self.cancelling = Bar(work), [], False
        self.bar.enter("starting" if work is Work.SEGMENT else work.value)
        self._succeeded, self._failed = succeeded, failed
        self._began = time.monotonic()
        self._timer.start()
        self._changed()

    def cancel(self) -> None:
        """Ask the work to stop; it counts as running until it has."""
        if self._running is not None and not self.cancelling:
            self.cancelling = True
            self._running.cancel()
            self._changed()

    def forget(self) -> None:
        """Follow no more: the panel goes away, and its logic ends what runs."""
        self._timer.stop()
        self._running = self.work = None

    def _poll(self) -> None:
        running = self._running
        if running is None:
            return
        for event in running.poll():
            if event.kind == "stage":
                self.bar.enter(event.text)
            elif event.kind == "progress" and event.fraction is not None:
                self.bar.advance(event.fraction, event.text)
            elif event.kind == "warning":
                self.warnings.append(event.text)
        if running.done:
            self._timer.stop()
            qt.QTimer.singleShot(0, lambda: self._end(running))  # after the events that have waited meanwhile
        self._changed()

    def _end(self, running: Running) -> None:
        if self._running is not running:
            return
        self._running = self.work = None
        try:
            self._tell(running)
        finally:
            self._changed()

    def _tell(self, running: Running) -> None:
        try:
            result = running.wait()
        except GliomaSegError as error:
            self._failed(error)
        except Exception as error:  # a defect of ours, which the run has put into the application's log
            sentence = _("GliomaSeg failed unexpectedly ({error}); the error log tells more.").format(error=error)
            self._failed(GliomaSegError(sentence))
        else:
            self._succeeded(result)
