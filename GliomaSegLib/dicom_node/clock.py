"""The clock of a node: one time to wait by, another to show."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two times of a node, in seconds."""

    def monotonic(self) -> float:
        """Never jumps; for waiting."""

    def wall(self) -> float:
        """Since 1970, as the computer believes; for showing."""


class SystemClock:
    """The computer's clock."""

    def monotonic(self) -> float:
        """See :class:`Clock`."""
        return time.monotonic()

    def wall(self) -> float:
        """See :class:`Clock`."""
        return time.time()
