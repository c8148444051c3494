"""Progress of a running job: stages, fractions and warnings."""

from __future__ import annotations

import time
from typing import Protocol


class Progress(Protocol):
    """Receives the progress of a job. Any method may raise ``Cancelled`` to stop the job."""

    def stage(self, name: str) -> None:
        """A new stage of the pipeline begins, e.g. ``registration``."""

    def advance(self, fraction: float, detail: str = "") -> None:
        """``fraction`` (0 to 1) of the current stage is done."""

    def warn(self, sentence: str) -> None:
        """A warning for the reader of the result, which is also stored in the result."""


class Silent:
    """A progress that shows nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, fraction: float, detail: str = "") -> None: ...

    def warn(self, sentence: str) -> None: ...


class ProgressRecorder:
    """Forwards everything to another progress, and records warnings and the duration of each stage."""

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
