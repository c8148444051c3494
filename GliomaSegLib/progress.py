"""Progress of a running job: stages, fractions and warnings. The terminal, the worker and the panel each show them."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """Receives what a job is doing. An implementation may raise ``Cancelled`` from any method to stop the job."""

    def stage(self, name: str) -> None:
        """A new stage of the pipeline begins, e.g. ``registration``."""

    def advance(self, fraction: float, detail: str = "") -> None:
        """The current stage has come to ``fraction`` (0 to 1)."""

    def warn(self, sentence: str) -> None:
        """Something that the reader of the result must know. It is also kept in the result."""


class Silent:
    """A progress that shows nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, fraction: float, detail: str = "") -> None: ...

    def warn(self, sentence: str) -> None: ...


class ProgressRecorder:
    """Passes everything on to another progress and remembers the warnings and the seconds that each stage took."""

    def __init__(self, listener: Progress) -> None:
        self._listener = listener
        self._stage: str | None = None
        self._began = 0.0
        self._seconds: dict[str, float] = {}
        self.warnings: list[str] = []

    @property
    def seconds(self) -> dict[str, float]:
        """Wall-clock seconds per stage, the running one included."""
        running = {self._stage: time.perf_counter() - self._began} if self._stage else {}
        return {stage: round(seconds, 2) for stage, seconds in (self._seconds | running).items()}

    def stage(self, name: str) -> None:
        """See :class:`Progress`."""
        if self._stage:
            self._seconds[self._stage] = time.perf_counter() - self._began
        self._stage, self._began = name, time.perf_counter()
        self._listener.stage(name)

    def advance(self, fraction: float, detail: str = "") -> None:
        """See :class:`Progress`."""
        self._listener.advance(fraction, detail)

    def warn(self, sentence: str) -> None:
        """See :class:`Progress`."""
        self.warnings.append(sentence)
        self._listener.warn(sentence)
