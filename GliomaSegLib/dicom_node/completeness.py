"""When a study is complete: DICOM has no message for that, so a quiet time decides (Lotan 2021 waited two minutes).

The monotonic clock is used. After a restart the quiet time of every arriving study begins again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from GliomaSegLib.dicom_node.clock import Clock


class Completeness:
    """Decides which of the arriving studies are complete.

    Args:
        quiet_s: a study is complete when no image has come for this many seconds.
        after_abort_s: the same where the sender aborted its association.
    """

    def __init__(self, clock: Clock, quiet_s: float, after_abort_s: float) -> None:
        self._now: Callable[[], float] = clock.monotonic
        self._quiet_s, self._after_abort_s = quiet_s, max(quiet_s, after_abort_s)
        self._last: dict[str, float] = {}
        self._aborted: set[str] = set()
        self._lock = threading.RLock()

    def image_received(self, key: str) -> bool:
        """Restart the study's quiet time; whether it was not arriving before (a new study, or a late image)."""
        with self._lock:
            is_first = key not in self._last
            self._last[key] = self._now()
            return is_first

    def sender_aborted(self, key: str, aborted: bool) -> None:
        """The study's sender aborted its association, or has come back and released one."""
        with self._lock:
            (self._aborted.add if aborted else self._aborted.discard)(key)

    def is_complete(self, key: str) -> bool:
        """Whether the study is complete now."""
        with self._lock:
            wait = self._after_abort_s if key in self._aborted else self._quiet_s
            return self._now() - self._last.setdefault(key, self._now()) >= wait

    @contextmanager
    def if_complete(self, key: str) -> Iterator[bool]:
        """Whether the study is complete; :meth:`image_received` blocks during the ``with`` block: keep it short."""
        with self._lock:
            yield self.is_complete(key)

    def forget(self, key: str) -> None:
        """Forget a study that is no longer arriving."""
        with self._lock:
            self._last.pop(key, None)
            self._aborted.discard(key)
