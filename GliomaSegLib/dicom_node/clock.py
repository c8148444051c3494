"""The clock of a node: monotonic time for waiting, wall-clock time for display."""

from __future__ import annotations

import time


class Clock:
    """The computer's clock, in seconds; tests replace it."""

    def monotonic(self) -> float:
        """Monotonic time, for waiting."""
        return time.monotonic()

    def wall(self) -> float:
        """Unix time, for display only: the system clock may jump."""
        return time.time()
