"""Runs long work in small steps on the main thread: polled by a timer, or waited for."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import slicer

from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.worker.client import Event

STOPPED = "Stopped; nothing half-made is left."

Steps = Generator[Event | None, None, Any]
"""A generator that does a run: yields events, and ``None`` when the caller may do something else; returns the result.

A :class:`Cancelled` thrown into it ends it; it may go on yielding until it has cleaned up.
"""

Done = TypeVar("Done")

_PAUSE_S = 0.02


def in_thread(work: Callable[[], Done]) -> Generator[None, None, Done]:
    """Steps while another thread runs ``work``, which must not touch the scene; they return what it returns.

    They end with the thread, also after a cancel, so that it does not write into a folder that is being deleted.
    """
    threads = ThreadPoolExecutor(1, "GliomaSeg")
    doing = threads.submit(work)
    threads.shutdown(wait=False)
    stop: GliomaSegError | None = None
    while not doing.done():
        try:
            yield None
        except GliomaSegError as error:
            stop = error
    if stop is not None:
        raise stop
    return doing.result()


class Run:
    """A run of :class:`~GliomaSegLib.scene.logic.SceneLogic`; to be used from the main thread.

    Args:
        on_event: called with every event, by :meth:`poll` and :meth:`wait`.
    """

    def __init__(self, steps: Steps, on_event: Callable[[Event], None] | None = None) -> None:
        self._steps = steps
        self._on_event = on_event
        self._stop: str | None = None
        self._stopped = False
        self._result: Any = None
        self._error: BaseException | None = None
        self._done = False

    @property
    def done(self) -> bool:
        """Whether it has ended, successfully or not, and cleaned up."""
        return self._done

    @property
    def result(self) -> Any:
        """What the steps returned.

        Raises:
            RuntimeError: the run is not done.
            GliomaSegError: it failed or was cancelled; the text is one sentence.
        """
        if not self._done:
            raise RuntimeError("the run is not done")
        if self._error is not None:
            raise self._error
        return self._result

    def poll(self) -> list[Event]:
        """Do the next short piece of work, and return the events since the last call.

        The last event of all is a ``result`` or an ``error``.
        """
        events: list[Event] = []
        while not self._done:
            event = self._advance()
            if event is None:
                break
            events.append(event)
        if self._on_event is not None:
            for event in events:
                self._on_event(event)
        return events

    def wait(self) -> Any:
        """Wait until it is done, letting the application process its events; an interruption cancels the run.

        Raises:
            GliomaSegError: it failed or was cancelled; the text is one sentence.
        """
        try:
            self._poll_to_the_end()
        except BaseException:
            self.cancel()
            self._on_event = None  # it may have raised the exception
            self._poll_to_the_end()
            raise
        return self.result

    def cancel(self, why: str = STOPPED) -> None:
        """Stop it. Returns at once; it is done when :meth:`poll` has cleaned up."""
        if not self._done and self._stop is None:
            self._stop = why

    def _poll_to_the_end(self) -> None:
        while not self._done:
            self.poll()
            application = getattr(slicer, "app", None)  # not in slicer-core
            if application is not None:
                application.processEvents()
            if not self._done:
                time.sleep(_PAUSE_S)

    def _advance(self) -> Event | None:
        try:
            if self._stop is not None and not self._stopped:
                self._stopped = True
                return self._steps.throw(Cancelled(self._stop))
            return next(self._steps)
        except StopIteration as end:
            self._result = end.value
            self._done = True
            return Event("result")
        except GliomaSegError as error:
            return self._failed(error, str(error))
        except Exception as error:  # a defect of GliomaSeg: the details go to the application's log
            logging.exception("GliomaSeg failed unexpectedly")
            return self._failed(error, f"GliomaSeg failed unexpectedly: {error}")

    def _failed(self, error: BaseException, sentence: str) -> Event:
        self._error = error
        self._done = True
        return Event("error", sentence)
