"""Retention: deletes images and results of settled studies, beyond the number to keep and while the disk is full."""

from __future__ import annotations

from collections.abc import Callable

from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.queue import SETTLED, Queue, Study
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.dicom_node.transitions import log_place
from GliomaSegLib.errors import Cancelled, GliomaSegError

_INTERVAL_S = 10.0  # between two deletions


class Retention:
    """Makes room on the disk of ``storage``.

    Args:
        keep: the number of settled studies whose images and results are kept.
        before_clearing: called with a study before its images are deleted; a GliomaSegError keeps them.
    """

    def __init__(
        self, storage: Storage, queue: Queue, clock: Clock, keep: int, before_clearing: Callable[[Study], None]
    ) -> None:
        self._storage, self._queue, self._clock = storage, queue, clock
        self._keep, self._before_clearing = keep, before_clearing
        self._cleared_at = -_INTERVAL_S

    def make_room(self) -> None:
        """Delete the files of the studies that were settled first, by order, not by age: the clock may jump.

        Raises:
            StorageError: the storage is gone.
        """
        now = self._clock.monotonic()
        if now - self._cleared_at < _INTERVAL_S and not self._storage.is_full:
            return
        self._cleared_at = now
        settled = self._queue.studies(SETTLED, with_images=True)
        for place, study in enumerate(settled):
            if len(settled) - place <= self._keep and not self._storage.is_full:
                return
            try:
                self._before_clearing(study)
            except (StorageError, Cancelled):
                raise
            except GliomaSegError:  # Orthanc does not answer: try later
                return
            except Exception as error:  # concerns this study only
                log_place(f"study {study.key}", error)
                continue
            if self._queue.cleared(study):
                self._storage.clear(study.key)
