"""The clock of a node: one time to wait by, another to show."""

from __future__ import annotations

import time


class Clock:
    """The computer's clock, in seconds; a test has one of its own."""

    def monotonic(self) -> float:
        """Never jumps; for waiting."""
        return time.monotonic()

    def wall(self) -> float:
        """Since 1970, as the computer believes; for showing."""
        return time.time()
