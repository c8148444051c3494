"""The DICOM storage SCP: receives MR images from listed callers, and refuses them when they cannot be stored."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import cast

from pydicom.uid import (
    JPEG2000,
    UID,
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
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_ASSOCIATE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined] # created dynamically

from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.config import Receive
from GliomaSegLib.dicom_node.connections import (
    PDU_BYTES,
    REQUEST_S,
    LimitedServer,
    LimitedSocket,
    Limits,
    Refusals,
    reject_for_now,
)
from GliomaSegLib.dicom_node.receiver import Outcome, Receiver, StoreCounts
from GliomaSegLib.dicom_node.storage import StorageError
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.dicom_files import MR_CLASSES

# Status codes of C-STORE (DICOM PS3.4 B.2.3 and PS3.7 C).
_SUCCESS, _OUT_OF_RESOURCES, _DUPLICATE, _CANNOT_UNDERSTAND = 0x0000, 0xA700, 0x0111, 0xC000

# The transfer syntaxes that GDCM decodes, except the deflated one: a small file could inflate to any size.
_SYNTAXES: list[UID] = [
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
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

_ALARM_S = 60.0  # the alarm ends when no connection had to be closed to make room for this time
_LOG = logging.getLogger(__name__)


class _Server(LimitedServer):
    """Updates the alarms of its :class:`StorageScp`."""

    scp: StorageScp

    def service_actions(self) -> None:
        """See :meth:`socketserver.BaseServer.service_actions`; called about twice a second."""
        super().service_actions()
        self.scp.check_alarms()


class StorageScp:
    """A storage SCP that is started with :meth:`start`.

    Attributes:
        server: the server while it listens, else ``None``.

    Args:
        alarms: raised while images cannot be stored, all associations are taken, or connections are closed to make
            room.
        counts: refusals and statuses are counted in it.
    """

    def __init__(
        self, config: Receive, largest_image_bytes: int, receiver: Receiver, alarms: Alarms, counts: StoreCounts
    ) -> None:
        self._limits = Limits(config.max_associations, config.per_address, largest_image_bytes)
        self._config, self._receiver, self._alarms, self._counts = config, receiver, alarms, counts
        self._refusals = Refusals(self._count_refusal)
        self._open: dict[Association, set[str]] = {}
        self._lock = threading.Lock()
        self.server: _Server | None = None

    def start(self) -> None:
        """Listen for associations.

        Raises:
            InputError: the port is taken, or may not be used; a certificate cannot be used.
        """
        entity = AE(self._config.ae_title)
        entity.maximum_pdu_size = PDU_BYTES
        entity.maximum_associations = 1 << 30  # limited by _requested; pynetdicom would count those not accepted yet
        entity.acse_timeout = REQUEST_S
        entity.require_called_aet = True
        entity.require_calling_aet = list(self._config.callers)
        entity.add_supported_context(Verification)
        for image_class in MR_CLASSES:
            entity.add_supported_context(image_class, _SYNTAXES)
        where = (self._config.host, self._config.port)
        tls = self._config.tls.server() if self._config.tls else None
        try:
            made = entity.make_server(
                where, ssl_context=tls, evt_handlers=self._handlers(), server_class=_Server, limits=self._limits,
                refusals=self._refusals,
            )  # fmt: skip
        except OSError as error:
            raise InputError(
                f"Nothing can be received at {where[0]}:{where[1]} ({error.strerror}); name another port."
            ) from error
        server = cast(_Server, made)
        server.scp = self
        entity._servers.append(server)  # as start_server() does, for shutdown()
        threading.Thread(target=server.serve_forever, name="Storage SCP", daemon=True).start()
        self.server = server

    def stop(self) -> None:
        """Stop listening; open associations are aborted."""
        if self.server is not None:
            self.server.ae.shutdown()
            self.server = None

    def check_alarms(self) -> None:
        """Bring the alarms about connections up to date."""
        server = self.server
        if server is None:
            return
        if len(server.established()) < self._config.max_associations:
            self._alarms.off("associations")
        if server.evicted_at is not None and time.monotonic() - server.evicted_at < _ALARM_S:
            self._alarms.on(
                "connections",
                "Connections are opened without an association request, and some are closed for want of room; see the "
                "log for their addresses, and keep these hosts away from the port.",
            )
        else:
            self._alarms.off("connections")

    def _handlers(self) -> list[evt.EventHandlerType]:
        return [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_C_STORE, self._store),
            (evt.EVT_RELEASED, lambda event: self._ended(event.assoc, aborted=False)),
            # After a release the association has no studies left.
            (evt.EVT_CONN_CLOSE, lambda event: self._ended(event.assoc, aborted=True)),
            (evt.EVT_REJECTED, self._rejected),
        ]

    # --- associations -----------------------------------------------------------------------------------------------

    def _requested(self, event: evt.Event) -> None:
        """Reject the association if there are too many; its AE titles are checked after this."""
        if self.server is None or _asked(event).calling_ae_title not in self._config.callers:
            return
        established, address = self.server.established(), event.assoc.requestor.address
        limit, most = self._limits.associations, self._limits.associations_per_address
        if len(established) >= limit:
            taken = Counter(one.requestor.address for one in established)
            by = ", ".join(f"{count} by {host}" for host, count in taken.most_common())
            reason = f"all {limit} associations are taken ({by})"
            self._alarms.on("associations", f"{reason[0].upper()}{reason[1:]}; senders are told to try again.")
        elif sum(one.requestor.address == address for one in established) >= most:
            reason = f"it has all {most} associations that one address may have"
        else:
            return
        self._refusals.add("an association", reason, address)
        reject_for_now(event.assoc)

    def _rejected(self, event: evt.Event) -> None:
        asked = _asked(event)
        if asked.calling_ae_title not in self._config.callers:
            reason = f"the caller '{asked.calling_ae_title}' is not on the list"
        else:
            reason = f"it called '{asked.called_ae_title}', and this is '{self._config.ae_title}'"
        self._refusals.add("an association", reason, event.assoc.requestor.address)

    def _count_refusal(self) -> None:
        with self._lock:
            self._counts.refused += 1

    def _ended(self, association: Association, aborted: bool) -> None:
        with self._lock:
            keys = self._open.pop(association, set())
        for key in keys:
            try:
                self._receiver.sender_aborted(key, aborted)
            except StorageError as error:
                self._alarms.on("storage", str(error))

    # --- images -----------------------------------------------------------------------------------------------------

    def _store(self, event: evt.Event) -> int:
        content = event.encoded_dataset()
        try:
            status = self._status_of(event.assoc, content)
        finally:
            if isinstance(event.assoc.dul.socket, LimitedSocket):
                event.assoc.dul.socket.processed(len(content))
        with self._lock:
            self._counts.statuses[status] += 1
        return status

    def _status_of(self, association: Association, content: bytes) -> int:
        try:
            outcome, key = self._receiver.receive(content, "dicom")
        except StorageError as error:
            self._alarms.on("storage", str(error))
            return _OUT_OF_RESOURCES  # the sender keeps the image and tries again
        except InputError as error:
            _LOG.warning("%s", error)
            return _CANNOT_UNDERSTAND
        except Exception as error:  # caused by this file: the next one is received
            _LOG.error("an image could not be received (%s)", type(error).__name__)
            return _CANNOT_UNDERSTAND
        if outcome is not Outcome.NO_IMAGE:
            with self._lock:
                self._open.setdefault(association, set()).add(key)
        return {Outcome.CONFLICT: _DUPLICATE, Outcome.NO_IMAGE: _CANNOT_UNDERSTAND}.get(outcome, _SUCCESS)


def _asked(event: evt.Event) -> A_ASSOCIATE:
    """The A-ASSOCIATE request primitive of the caller."""
    return cast(A_ASSOCIATE, event.assoc.requestor.primitive)
