"""How a running job speaks: stages, fractions and warnings. Doors (terminal, worker, panel) decide how to show them."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Receives what a job is doing. An implementation may raise ``Cancelled`` from any method to stop the job."""

    def stage(self, name: str) -> None:
        """A new stage of the road begins, e.g. ``registration``."""

    def advance(self, fraction: float, detail: str = "") -> None:
        """The current stage has come to ``fraction`` (0 to 1)."""

    def warn(self, sentence: str) -> None:
        """Something that the reader of the result must know. It is also kept in the result."""


class Silent:
    """A progress that says nothing."""

    def stage(self, name: str) -> None: ...

    def advance(self, fraction: float, detail: str = "") -> None: ...

    def warn(self, sentence: str) -> None: ...
