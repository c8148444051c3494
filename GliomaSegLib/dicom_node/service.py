"""The node: starts its parts and threads, and handles the loss of its storage."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.config import Config, DicomPeer, Orthanc
from GliomaSegLib.dicom_node.engine import Engine, Worker
from GliomaSegLib.dicom_node.findings import Findings
from GliomaSegLib.dicom_node.orthanc import OrthancError, OrthancServer, OrthancWatcher, receipt_for
from GliomaSegLib.dicom_node.queue import Queue, Study, is_sound, move_aside
from GliomaSegLib.dicom_node.receiver import Receiver, StoreCounts
from GliomaSegLib.dicom_node.sender import Archive, DicomArchive, OrthancArchive, Sender
from GliomaSegLib.dicom_node.status import Status
from GliomaSegLib.dicom_node.storage import LOGS, Storage, StorageError
from GliomaSegLib.dicom_node.transitions import log_place
from GliomaSegLib.dicom_node.web import WebServer
from GliomaSegLib.errors import Cancelled, printable
from GliomaSegLib.worker.client import WorkerProcess

_TICK_S, _LOST_S, _DEFECT_S = 0.2, 2.0, 10.0
_GB = 1_000_000_000
_LOG = logging.getLogger(__name__)


class Node:
    """A node with all the parts that its configuration asks for.

    Args:
        worker: segments and exports, see :func:`quiet_worker`; closed with the node.

    Raises:
        InputError: the folder is not that of a node, or a port is taken.
    """

    def __init__(self, config: Config, worker: Worker, clock: Clock | None = None) -> None:
        self._config, self._clock = config, clock or Clock()
        self.storage = Storage(config.folder, round(config.free_gb * _GB))
        self.queue = Queue(self.storage.database)
        self.alarms = Alarms(self._clock)
        self._completeness = Completeness(self._clock, config.quiet_s, config.after_abort_s)
        self.receiver = Receiver(self.storage, self.queue, self._completeness, self._clock)
        self._worker = worker
        self.engine = Engine(
            config, config.rules(), self.storage, self.queue, self.receiver, self._completeness, self._worker,
            self._clock, self._leave_receipt,
        )  # fmt: skip
        self._stores = StoreCounts()
        self.web = WebServer(config.web, self._status())
        self._ending = threading.Event()
        self._threads: list[threading.Thread] = []
        self._lost = False

    @contextmanager
    def started(self, again: bool = False) -> Iterator[Node]:
        """Run all threads of the node during the block; the caller calls :meth:`run` in it.

        Args:
            again: process the studies again that failed or that no rule fitted.
        """
        with self.storage.owned(), contextlib.ExitStack() as stack:
            stack.callback(self.queue.close)
            stack.callback(self._worker.close)
            self.engine.recover()
            if again:
                self.engine.again()
            stack.callback(self._join)
            if self._config.receive:
                from GliomaSegLib.dicom_node.storage_scp import StorageScp

                self.scp = StorageScp(
                    self._config.receive, self._config.largest_image_mb << 20, self.receiver, self.alarms, self._stores
                )
                self.scp.start()
                stack.callback(self.scp.stop)
            orthanc = OrthancServer(self._config.orthanc) if self._config.orthanc else None
            sender = Sender(self.queue, self.storage, self._archive(), orthanc, self.alarms, self._clock)
            self._in_thread(sender.tick, _TICK_S)
            if self._config.orthanc and self._config.orthanc.watch:
                server = OrthancServer(self._config.orthanc)
                watcher = OrthancWatcher(
                    self._config.orthanc, server, self.receiver, self.queue, self.storage,
                    self._config.largest_image_mb << 20,
                )  # fmt: skip
                self._in_thread(self._polling(watcher), self._config.orthanc.poll_s)
            self.web.start()
            stack.callback(self.web.stop)
            yield self

    def run(self) -> None:
        """Work until :meth:`end`, or until an exception such as ``Cancelled`` comes."""
        try:
            while not self._ending.is_set():
                if not self._guarded(self._step):
                    self._ending.wait(_TICK_S)
        finally:
            self.engine.stop()

    def end(self) -> None:
        """Let :meth:`run` return."""
        self._ending.set()

    def _step(self) -> bool:
        if self._lost:
            self.storage.check()
            self.queue.open()
            self.engine.recover()
            self._lost = False
        done = self.engine.tick()
        self.storage.check_room()
        self.alarms.off("storage")
        return done

    def _on_storage_error(self, error: StorageError) -> None:
        self.alarms.on("storage", str(error))
        try:
            self.storage.check()
        except StorageError:
            self._lost = True
            self.engine.stop()
            self.queue.close()  # a queue must not be used without its disk
        self._ending.wait(_LOST_S)

    def _guarded(self, step: Callable[[], bool]) -> bool:
        try:
            return step()
        except StorageError as error:
            if step == self._step:
                self._on_storage_error(error)
            return False
        except Cancelled:
            raise
        except Exception as error:  # a defect of GliomaSeg raises an alarm and does not end the node
            log_place("the node", error)
            self.alarms.on("defect", f"GliomaSeg failed unexpectedly ({type(error).__name__}); see its log.")
            self._ending.wait(_DEFECT_S)
            return False

    def _in_thread(self, step: Callable[[], bool], pause_s: float) -> None:
        def work() -> None:
            while not self._ending.is_set():
                if not self._guarded(step):
                    self._ending.wait(pause_s)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        self._threads.append(thread)

    def _polling(self, watcher: OrthancWatcher) -> Callable[[], bool]:
        def poll() -> bool:
            try:
                watcher.poll()
            except OrthancError as error:
                self.alarms.on("orthanc", str(error))
            else:
                self.alarms.off("orthanc")
            return False

        return poll

    def _join(self) -> None:
        self._ending.set()
        for thread in self._threads:
            thread.join(timeout=_DEFECT_S)

    def _archive(self) -> Archive:
        if isinstance(self._config.orthanc, Orthanc) and self._config.send == "orthanc":
            return OrthancArchive(OrthancServer(self._config.orthanc))
        return DicomArchive(cast(DicomPeer, self._config.send))

    def _leave_receipt(self, study: Study) -> None:
        """Write the receipt before a study's images are deleted, so that they are not fetched again."""
        if study.origin == "orthanc" and self._config.orthanc:
            OrthancServer(self._config.orthanc).write_receipt(study.uid, receipt_for(self.storage, study))

    def _status(self) -> Status:
        findings = Findings(self.storage, self.queue)
        return Status(
            self.storage, self.queue, self.receiver, self.engine, self.alarms, self._clock, self._stores, findings
        )


def repair_queue(config: Config) -> str:
    """Move the queue of a node aside if it is damaged; the node makes a new one from its images when it starts.

    Returns:
        a sentence that says what was done.

    Raises:
        InputError: the folder is not that of a node, or a node works in it.
        StorageError: the queue cannot be moved.
    """
    storage = Storage(config.folder)
    with storage.owned():
        if not storage.database.exists() or is_sound(storage.database):
            return f"The queue {storage.database} is in order; nothing was changed."
        aside = move_aside(storage.database, Clock().wall())
    return f"The damaged queue is {aside} now; a new one is made from the images in {storage.folder}."


def quiet_worker(command: Sequence[str], folder: Path) -> WorkerProcess:
    """A worker process for the node in ``folder`` whose log does not name the patients.

    Args:
        command: starts it, see :func:`~GliomaSegLib.worker.client.worker_command`.
    """
    quiet = os.environ | {"PYTHONWARNINGS": "ignore"}  # pydicom's warnings quote values, also names
    return WorkerProcess(command, folder / LOGS / "worker.log", quiet)


class _PrintableFormatter(logging.Formatter):
    """Escapes control characters of received values; a traceback keeps its line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        """See :meth:`logging.Formatter.format`."""
        return printable(super().format(record))


def set_up_logging() -> None:
    """Log the node's messages to standard error, but not those of the libraries, which may quote headers."""
    import pydicom  # before its logger is silenced

    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_PrintableFormatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%dT%H:%M:%S%z"))
    ours = logging.getLogger("GliomaSegLib.dicom_node")
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    ours.propagate = False
    for name in (pydicom.__name__, "pynetdicom", "highdicom"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
