"""The active alarms of a node: each has a sentence, and is logged when it begins and when it ends."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass

from GliomaSegLib.dicom_node.clock import Clock

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alarm:
    """An alarm; ``since`` is Unix time in seconds, for display only."""

    name: str
    sentence: str
    since: float


class Alarms:
    """The active alarms; thread-safe."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._on: dict[str, Alarm] = {}
        self._lock = threading.Lock()

    def on(self, name: str, sentence: str) -> None:
        """Raise the alarm ``name``. It is logged again only when its sentence changes."""
        with self._lock:
            before = self._on.get(name)
            self._on[name] = Alarm(name, sentence, before.since if before else self._clock.wall())
        if before is None or before.sentence != sentence:
            _LOG.error("%s: %s", name, sentence)

    def off(self, name: str) -> None:
        """Clear the alarm ``name``."""
        with self._lock:
            before = self._on.pop(name, None)
        if before:
            _LOG.warning("%s: in order again", name)

    def all(self) -> list[Alarm]:
        """The active alarms, the oldest first."""
        with self._lock:
            return sorted(self._on.values(), key=lambda alarm: alarm.since)
