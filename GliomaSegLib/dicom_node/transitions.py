"""Changes of a study's state: each is logged, and an exception about a study fails that study and no other."""

from __future__ import annotations

import contextlib
import logging
import traceback
from collections.abc import Iterator
from typing import Any

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.queue import SETTLED, Queue, State, Study
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.errors import Cancelled

_LOG = logging.getLogger(__name__)


class Transitions:
    """Moves the studies of a queue from state to state; thread-safe."""

    def __init__(self, queue: Queue, storage: Storage, clock: Clock) -> None:
        self._queue, self._storage, self._clock = queue, storage, clock

    def move(self, study: Study, state: State, sentence: str = "", **fields: Any) -> Study | None:
        """Bring a study into ``state`` and log it; see :meth:`~GliomaSegLib.dicom_node.queue.Queue.move`."""
        moved = self._queue.move(study, state, self._clock.wall(), sentence=sentence, **fields)
        if moved is not None:
            why = "; ".join(filter(None, (fields.get("reason"), sentence)))
            _LOG.info("study %s: %s%s", study.key, state.value, f": {why}" if why else "")
        return moved

    @contextlib.contextmanager
    def failing(self, study: Study, sentence: str) -> Iterator[None]:
        """Catch an exception in the block and mark ``study`` as failed, with ``sentence`` and the exception's name.

        Raises:
            StorageError: the storage failed, not the study.
            Cancelled: the node ends.
        """
        try:
            yield
        except (StorageError, Cancelled):
            raise
        except Exception as error:
            self._storage.check()
            log_place(f"study {study.key}", error)
            now = self._queue.study(study.key)
            if now is not None and now.state not in SETTLED:
                images = len(self._storage.image_files(study.key))  # or some would count as new after a restart
                self.move(now, State.FAILED, f"{sentence} ({type(error).__name__}).", images=images)


def log_place(about: str, error: Exception) -> None:
    """Log the type of an unexpected exception and its traceback, not its text, which may quote a header."""
    _LOG.error("%s: %s\n%s", about, type(error).__name__, "".join(traceback.format_tb(error.__traceback__)))
