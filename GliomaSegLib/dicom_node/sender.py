"""Sends the answers file by file: accepted files are recorded, and the others are sent again later.

After a kill between acceptance and record files are sent twice, with the same SOP Instance UIDs: the archive stores
them once.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from pydicom.filereader import read_file_meta_info
from pydicom.uid import UID

from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.clock import Clock
from GliomaSegLib.dicom_node.config import DicomPeer
from GliomaSegLib.dicom_node.orthanc import OrthancError, OrthancServer, receipt_for
from GliomaSegLib.dicom_node.queue import Queue, State, Study
from GliomaSegLib.dicom_node.storage import Storage, StorageError
from GliomaSegLib.dicom_node.transitions import Transitions, log_place
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError

if TYPE_CHECKING:  # an extra that only sending by C-STORE needs
    from pynetdicom.association import Association
    from pynetdicom.events import Event
    from pynetdicom.transport import AssociationSocket

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 5.0, 600.0
_CONNECT_S, _ANSWER_S = 10, 60
_MARKED_TOGETHER = 50  # a record must reach the disk, which takes longer than sending a slice


class Unreachable(GliomaSegError):
    """The archive does not answer; no study can be sent."""


class Refused(GliomaSegError):
    """The archive does not accept this study."""


class Archive(Protocol):
    """Receives the answers."""

    def send(self, files: Iterable[Path]) -> Iterator[Path]:
        """Send DICOM files; each is yielded when it has been accepted.

        Raises:
            Unreachable: the archive does not answer.
            Refused: a file is not accepted.
        """


class DicomArchive:
    """An archive that receives by C-STORE, in one association per study."""

    def __init__(self, config: DicomPeer) -> None:
        self._config = config

    def send(self, files: Iterable[Path]) -> Iterator[Path]:
        """See :class:`Archive`."""
        from pynetdicom import AE, _config, evt

        _config.STORE_SEND_CHUNKED_DATASET = True  # files are sent without decoding and encoding them
        paths = list(files)
        entity = AE(self._config.calling)
        entity.connection_timeout, entity.acse_timeout = _CONNECT_S, _CONNECT_S
        entity.dimse_timeout = entity.network_timeout = _ANSWER_S
        for kind, syntax in {_kind(path) for path in paths}:
            entity.add_requested_context(kind, syntax)
        where = f"'{self._config.ae_title}' at {self._config.host}:{self._config.port}"
        association = entity.associate(
            self._config.host, self._config.port, ae_title=self._config.ae_title, tls_args=self._tls(),
            evt_handlers=[(evt.EVT_PDU_SENT, _acknowledge_at_once)],
        )  # fmt: skip
        if not association.is_established:
            if association.is_rejected:
                raise Unreachable(f"{where} refuses an association with '{self._config.calling}'; is it on its list?")
            or_no_tls = ", or one side does not accept the other's certificate" if self._config.tls else ""
            raise Unreachable(f"{where} does not answer{or_no_tls}.")
        try:
            for path in paths:
                self._store(association, path, where)
                yield path
        finally:
            association.release()

    def _tls(self) -> tuple[ssl.SSLContext, str] | None:
        if self._config.tls is None:
            return None
        try:
            return self._config.tls.client(), self._config.host
        except InputError as error:  # it was usable when the node started
            raise Unreachable(str(error)) from error

    @staticmethod
    def _store(association: Association, path: Path, where: str) -> None:
        try:
            status = association.send_c_store(path)
        except ValueError as error:  # no presentation context was accepted for it
            raise Refused(f"{where} does not take objects such as {path.name} ({_kind(path)[0].name}).") from error
        except (RuntimeError, AttributeError) as error:
            raise Unreachable(f"{where} broke off.") from error
        if "Status" not in status:
            raise Unreachable(f"{where} broke off.")
        # PS3.4 B.2.3: B000, B006 and B007 are warnings; the object was stored.
        if status.Status != 0x0000 and status.Status not in (0xB000, 0xB006, 0xB007):
            raise Refused(f"{where} refused {path.name} with the status 0x{status.Status:04X}.")


def _acknowledge_at_once(event: Event) -> None:
    """Disable Nagle's algorithm and delayed acknowledgements: an archive that writes its response in two pieces, as
    those on DCMTK and Orthanc do, would wait 40 ms in between.
    """
    connection = cast("socket.socket", cast("AssociationSocket", event.assoc.dul.socket).socket)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if hasattr(socket, "TCP_QUICKACK"):  # Linux; it has to be set again and again
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


def _kind(path: Path) -> tuple[UID, UID]:
    """SOP class and transfer syntax."""
    meta = read_file_meta_info(path)
    return meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID


class OrthancArchive:
    """An Orthanc server that receives by its REST interface."""

    def __init__(self, server: OrthancServer) -> None:
        self._server = server

    def send(self, files: Iterable[Path]) -> Iterator[Path]:
        """See :class:`Archive`."""
        for path in files:
            try:
                self._server.store(path.read_bytes())
            except OrthancError as error:
                if error.status is None or error.status in (401, 403) or error.status >= 500:
                    raise Unreachable(str(error)) from error
                raise Refused(f"{error} It does not take {path.name}.") from error
            yield path


class Sender:
    """Sends the answers that are ready, one study per :meth:`tick`.

    Args:
        orthanc: the server from which studies may have come: one that was deleted there is not answered, and one
            that is answered gets its receipt.
    """

    def __init__(
        self,
        queue: Queue,
        storage: Storage,
        archive: Archive,
        orthanc: OrthancServer | None,
        alarms: Alarms,
        clock: Clock,
    ) -> None:
        self._queue, self._storage, self._archive, self._orthanc = queue, storage, archive, orthanc
        self._alarms, self._clock = alarms, clock
        self._transitions = Transitions(queue, storage, clock)
        self._pauses: dict[str, tuple[int, float]] = {}  # study, or '' for all: number of failures, end of the pause

    def tick(self) -> bool:
        """Send a study, if one is ready and due; whether one was.

        Raises:
            StorageError: the storage is gone.
        """
        study = self._next()
        if study is None:
            return False
        try:
            self._answer(study)
        except (Unreachable, OrthancError) as error:
            self._alarms.on("receiver", f"{error} The answers wait.")
            self._pause("")
        except Refused as error:
            self._alarms.on(f"study {study.key}", f"The answer of study {study.key} waits: {error}")
            self._pause(study.key)
            self._transitions.move(study, State.SENDING, str(error))
        except (StorageError, Cancelled):
            raise
        except Exception as error:  # concerns this study only: the others are sent
            self._storage.check()  # unless the storage went while a file was sent
            log_place(f"study {study.key}", error)
            sentence = f"It could not be sent ({type(error).__name__}); see the log."
            self._alarms.on(f"study {study.key}", f"The answer of study {study.key} waits: {sentence}")
            self._pause(study.key)
            self._transitions.move(study, State.SENDING, sentence)
        else:
            self._pauses.pop("", None)
            self._alarms.off("receiver")
            self._end_pause(study.key)
        return True

    def _next(self) -> Study | None:
        if self._is_paused(""):
            return None
        ready = self._queue.studies((State.SENDING,))
        for key in set(self._pauses) - {"", *(study.key for study in ready)}:  # it got a late image, or was withdrawn
            self._end_pause(key)
        return next((study for study in ready if not self._is_paused(study.key)), None)

    def _answer(self, study: Study) -> None:
        from_orthanc = self._orthanc if study.origin == "orthanc" else None
        if from_orthanc and not from_orthanc.has_study(study.uid):
            sentence = "The study was deleted in Orthanc before its answer was ready."
            self._transitions.move(study, State.WITHDRAWN, sentence)
            return
        delivered, folder = self._queue.delivered(study), self._storage.answers(study.key, study.revision)
        files = [path for path in _in_order(folder) if _name(path, folder) not in delivered]
        if not files:
            self._storage.check()  # without it, all files would seem to have been sent
        if not files and not delivered:
            self._transitions.move(study, State.WAITING, "Its answer had vanished from the storage, and is made again.")
            return
        self._send(study, files, folder)
        if from_orthanc:
            from_orthanc.write_receipt(study.uid, receipt_for(self._storage, study))
        self._transitions.move(study, State.ANSWERED)

    def _send(self, study: Study, files: Iterable[Path], folder: Path) -> None:
        accepted: list[str] = []
        try:
            for path in self._archive.send(files):
                accepted.append(_name(path, folder))
                if len(accepted) == _MARKED_TOGETHER:
                    self._queue.deliver(study, accepted)
                    accepted = []
        finally:
            self._queue.deliver(study, accepted)

    def _end_pause(self, key: str) -> None:
        self._pauses.pop(key, None)
        self._alarms.off(f"study {key}")

    def _is_paused(self, key: str) -> bool:
        return key in self._pauses and self._clock.monotonic() < self._pauses[key][1]

    def _pause(self, key: str) -> None:
        failures = self._pauses.get(key, (0, 0.0))[0]
        pause = min(_FIRST_PAUSE_S * 2 ** min(failures, 10), _LONGEST_PAUSE_S)
        self._pauses[key] = (failures + 1, self._clock.monotonic() + pause)


def _in_order(folder: Path) -> list[Path]:
    """The files of an answer; overlay series last: an archive that refuses these still gets the others."""
    return sorted(folder.rglob("*.dcm"), key=lambda path: (len(path.parts), path))


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()
