"""The DICOM storage SCP: receives MR images from listed callers, and refuses them when they cannot be kept."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification

from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.config import Receive
from GliomaSegLib.dicom_node.receiver import IMAGE_CLASSES, Outcome, Receiver, StoreCounts
from GliomaSegLib.dicom_node.storage import StorageError
from GliomaSegLib.errors import InputError

# DICOM PS3.4 B.2.3 and PS3.7 C: what a C-STORE may be answered with.
_SUCCESS, _OUT_OF_RESOURCES, _DUPLICATE, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0x0111, 0xC000

# Those that GDCM decodes.
_SYNTAXES: list[UID] = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEGLosslessSV1,
    JPEGLossless,
    JPEGLSLossless,
    JPEG2000Lossless,
    JPEG2000,
    RLELossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
]

_PDU_BYTES = 1 << 18  # the usual 16 KiB cut an image into dozens of pieces
_LOG = logging.getLogger(__name__)


class StorageScp:
    """A storage SCP that is started with :meth:`start`.

    Args:
        alarms: has one on while nothing can be kept.
        counts: in which it counts.
    """

    def __init__(self, config: Receive, receiver: Receiver, alarms: Alarms, counts: StoreCounts) -> None:
        self._config, self._receiver, self._alarms, self._counts = config, receiver, alarms, counts
        self._open: dict[object, set[str]] = {}
        self._lock = threading.Lock()
        self._entity: AE | None = None

    def start(self) -> None:
        """Begin to listen.

        Raises:
            InputError: the port is taken, or may not be used; a certificate cannot be used.
        """
        entity = AE(self._config.ae_title)
        entity.maximum_pdu_size = _PDU_BYTES
        entity.maximum_associations = self._config.max_associations
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._config.callers)
        entity.add_supported_context(Verification)
        for image_class in IMAGE_CLASSES:
            entity.add_supported_context(image_class, _SYNTAXES)
        handlers = [
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, self._released),
            (evt.EVT_CONN_CLOSE, self._closed),
            (evt.EVT_REJECTED, self._rejected),
        ]
        where = (self._config.host, self._config.port)
        tls = self._config.tls and self._config.tls.server()
        try:
            entity.start_server(where, block=False, ssl_context=tls, evt_handlers=handlers)
        except OSError as error:
            raise InputError(
                f"Nothing can be received at {where[0]}:{where[1]} ({error.strerror}); name another port."
            ) from error
        self._entity = entity

    def stop(self) -> None:
        """Listen no longer; associations that are open are aborted."""
        if self._entity is not None:
            self._entity.shutdown()
            self._entity = None

    def _store(self, event: evt.Event) -> int:
        status = self._status_of(event.assoc, event.encoded_dataset)
        with self._lock:
            self._counts.statuses[status] += 1
        return status

    def _status_of(self, association: object, content: Callable[[], bytes]) -> int:
        try:
            outcome, key = self._receiver.receive(content(), "dicom")
        except StorageError as error:
            self._alarms.on("storage", str(error))
            return _OUT_OF_RESOURCES  # the sender keeps the image and tries again
        except InputError as error:
            _LOG.warning("%s", error)
            return _CANNOT_UNDERSTAND
        except Exception as error:  # whatever is wrong with a file: the next one is received
            _LOG.error("an image could not be received (%s)", type(error).__name__)
            return _CANNOT_UNDERSTAND
        if outcome is not Outcome.NO_IMAGE:
            with self._lock:
                self._open.setdefault(association, set()).add(key)
        return {Outcome.CONFLICT: _DUPLICATE, Outcome.NO_IMAGE: _CANNOT_UNDERSTAND}.get(outcome, _SUCCESS)

    def _released(self, event: evt.Event) -> None:
        self._ended(event.assoc, aborted=False)

    def _closed(self, event: evt.Event) -> None:
        self._ended(event.assoc, aborted=True)  # after a release the association has no studies left

    def _ended(self, association: object, aborted: bool) -> None:
        with self._lock:
            keys = self._open.pop(association, set())
        for key in keys:
            try:
                self._receiver.sender_aborted(key, aborted)
            except StorageError as error:
                self._alarms.on("storage", str(error))

    def _rejected(self, event: evt.Event) -> None:
        self._counts.refused += 1
        requestor = event.assoc.requestor
        _LOG.warning("an association was refused: caller '%s' at %s", requestor.ae_title, requestor.address)
