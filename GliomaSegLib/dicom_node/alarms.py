"""What is wrong with the node now, each in a sentence that is logged when it begins and when it ends."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from GliomaSegLib.dicom_node.clock import Clock

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alarm:
    """Something that is wrong, since when (seconds since 1970, to be shown)."""

    name: str
    sentence: str
    since: float


class Alarms:
    """The alarms that are on; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on: dict[str, Alarm] = {}
        self._lock = threading.Lock()

    def on(self, name: str, sentence: str) -> None:
        """Something is wrong. It is logged again only when the sentence changes."""
        with self._lock:
            before = self._on.get(name)
            self._on[name] = Alarm(name, sentence, before.since if before else self._clock.wall())
        if before is None or before.sentence != sentence:
            _LOG.error("%s: %s", name, sentence)

    def off(self, name: str) -> None:
        """It is no longer wrong."""
        with self._lock:
            before = self._on.pop(name, None)
        if before:
            _LOG.warning("%s: in order again", name)

    def all(self) -> list[Alarm]:
        """Those that are on, the oldest first."""
        with self._lock:
            return sorted(self._on.values(), key=lambda alarm: alarm.since)
