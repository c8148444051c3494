"""When a study is complete: nobody says so in DICOM, so a quiet time has to (Lotan 2021 waited two minutes).

Measured by a clock that nobody sets. After a restart every study that was arriving waits its whole time again.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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


class Arrivals:
    """The studies that are arriving.

    Args:
        quiet_s: so long must no image have come.
        after_abort_s: the same where the sender broke off.
    """

    def __init__(self, clock: Clock, quiet_s: float, after_abort_s: float) -> None:
        self._now: Callable[[], float] = clock.monotonic
        self._quiet_s, self._after_abort_s = quiet_s, max(quiet_s, after_abort_s)
        self._last: dict[str, float] = {}
        self._broken: set[str] = set()
        self._lock = threading.RLock()

    def seen(self, key: str) -> bool:
        """An image of the study has come; whether it is the first since the study was complete, or new."""
        with self._lock:
            is_first = key not in self._last
            self._last[key] = self._now()
            return is_first

    def broken_off(self, key: str, broken: bool) -> None:
        """The study's sender broke off, or has come back and ended in order."""
        with self._lock:
            (self._broken.add if broken else self._broken.discard)(key)

    @contextmanager
    def if_complete(self, key: str) -> Iterator[bool]:
        """Whether the study is complete; no image is :meth:`seen` while the block runs."""
        with self._lock:
            wait = self._after_abort_s if key in self._broken else self._quiet_s
            yield self._now() - self._last.setdefault(key, self._now()) >= wait

    def forget(self, key: str) -> None:
        """The study is no longer arriving."""
        with self._lock:
            self._last.pop(key, None)
            self._broken.discard(key)
