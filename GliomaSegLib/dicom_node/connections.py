"""A pynetdicom server with limits, so that no host can use up the connections, threads or memory of listed senders.

* A connection becomes an association when its whole A-ASSOCIATE-RQ has come, within :data:`REQUEST_S`. Until then it
  costs one blocked thread. When too many wait, in all or from one address, the one that has waited longest is closed.
* Associations are limited, in all and per address. One more is rejected as transient (DICOM PS3.8 9.3.4, "local limit
  exceeded"), so that its sender tries again.
* A PDU longer than negotiated (PS3.8 D.1) aborts its association; so does a PDU that is not complete within
  :data:`PDU_S`, and more unprocessed data than :class:`Limits` allows.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pynetdicom import evt
from pynetdicom.association import Association
from pynetdicom.transport import AssociationSocket, RequestHandler, ThreadedAssociationServer

from GliomaSegLib.dicom_node.header import one_line

PDU_BYTES = 1 << 18
"""The longest PDU that is received; the usual 16 KiB would split an image into dozens of pieces."""

REQUEST_S = 10.0
"""Time limit (s) for an association request, from the connection."""

PDU_S = 60.0
"""Time limit (s) for a PDU, from its first byte."""

MOST_WAITING = 64
MOST_WAITING_PER_ADDRESS = 8
"""The most connections without an association request."""

_LOGGED_S = 60.0  # the same refusal from the same address is logged once in this time
_CHUNK_BYTES = 1 << 16
_ASSOCIATE_RQ = 0x01
_INVALID_PDU = bytes((7, 0, 0, 0, 0, 4, 0, 0, 2, 6))  # A-ABORT by the service provider: invalid PDU parameter value
_LOCAL_LIMIT = (0x02, 0x03, 0x02)  # PS3.8 table 9-21: rejected transient, presentation, local limit exceeded
_LOG = logging.getLogger(__name__)


@dataclass
class Limits:
    """What one :class:`LimitedServer` allows.

    Attributes:
        associations, associations_per_address: the most that may be established at once.
        image_bytes: the size of the largest image.
    """

    associations: int
    associations_per_address: int
    image_bytes: int

    @property
    def memory_bytes(self) -> int:
        """The most received data that are not processed yet, in all associations together."""
        return 4 * self.image_bytes


@dataclass
class Refusals:
    """Counts and logs refusals; the same reason from the same address is logged once a minute."""

    on_refusal: Callable[[], None] = lambda: None
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _logged: dict[tuple[str, str], float] = field(default_factory=dict)
    _silent: Counter[tuple[str, str]] = field(default_factory=Counter)

    def add(self, what: str, reason: str, address: str) -> None:
        """``what`` was refused to ``address`` for ``reason``."""
        self.on_refusal()
        key, now = (address, reason), time.monotonic()
        with self._lock:
            if now - self._logged.get(key, -_LOGGED_S) < _LOGGED_S:
                self._silent[key] += 1
                return
            self._logged = {one: when for one, when in self._logged.items() if now - when < _LOGGED_S} | {key: now}
            more = self._silent.pop(key, 0)
            self._silent = Counter({one: count for one, count in self._silent.items() if one in self._logged})
        again = f"; {more} more in the minute before" if more else ""
        _LOG.warning("%s from %s was refused: %s%s", what, address, one_line(reason), again)


class LimitedServer(ThreadedAssociationServer):
    """Accepts associations within the limits that the module describes.

    Attributes:
        evicted_at: when a waiting connection was last closed to make room (monotonic), or ``None``.
    """

    request_queue_size = 128

    def __init__(self, *arguments: Any, limits: Limits, refusals: Refusals, **named: Any) -> None:
        self.limits, self.refusals = limits, refusals
        self.evicted_at: float | None = None
        self._waiting: dict[socket.socket, str] = {}  # the one that has waited longest is first
        self._waiting_lock = threading.Lock()
        self._unprocessed: dict[AssociationSocket, int] = {}
        super().__init__(*arguments, **{**named, "request_handler": _Handler})

    def get_request(self) -> tuple[socket.socket, tuple[str, int]]:
        """See :meth:`socketserver.TCPServer.get_request`."""
        request, address = super().get_request()
        request.settimeout(REQUEST_S)
        with self._waiting_lock:
            mine = [one for one, where in self._waiting.items() if where == address[0]]
            if len(mine) >= MOST_WAITING_PER_ADDRESS:
                self._evict(mine[0])
            elif len(self._waiting) >= MOST_WAITING:
                self._evict(next(iter(self._waiting)))
            self._waiting[request] = address[0]
        return request, address

    def _evict(self, request: socket.socket) -> None:
        address = self._waiting.pop(request)
        self.evicted_at = time.monotonic()
        self.refusals.add("a connection", "too many connections wait without an association request", address)
        with contextlib.suppress(OSError):
            socket.socket.shutdown(request, socket.SHUT_RDWR)  # also for TLS, below which its thread is reading

    def stop_waiting(self, request: socket.socket) -> bool:
        """Note that a connection's association request has come or failed; ``False`` if it was closed to make room."""
        with self._waiting_lock:
            return self._waiting.pop(request, None) is not None

    def established(self) -> list[Association]:
        """The associations that are established."""
        return [one for one in self.active_associations if one.is_established]

    def unprocessed(self, connection: AssociationSocket, more: int) -> None:
        """Add ``more`` received bytes to the unprocessed ones, or subtract processed ones (negative).

        Raises:
            ConnectionAbortedError: there are too many unprocessed bytes.
        """
        with self._waiting_lock:
            mine = self._unprocessed.get(connection, 0) + more
            self._unprocessed[connection] = mine
            together = sum(self._unprocessed.values())
        if mine > self.limits.image_bytes:
            raise ConnectionAbortedError(f"an image of more than {self.limits.image_bytes >> 20} MB")
        if more > 0 and together > self.limits.memory_bytes:
            raise ConnectionAbortedError("all associations together hold too much that is not processed yet")

    def closed(self, connection: AssociationSocket) -> None:
        """Forget the bytes of a connection that is closed."""
        with self._waiting_lock:
            self._unprocessed.pop(connection, None)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See :meth:`socketserver.BaseServer.handle_error`; a peer's fault is logged without a traceback."""
        self.refusals.add("a connection", "it cannot be served", client_address[0])


class _Handler(RequestHandler):
    """Reads the association request in a thread of its own, and leaves the rest to pynetdicom."""

    server: LimitedServer

    def handle(self) -> None:
        """See :class:`pynetdicom.transport.RequestHandler`."""
        try:
            request = _read_request(self.request)
        except Exception as error:  # of TLS too; the data are untrusted
            if self.server.stop_waiting(self.request):
                named = isinstance(error, _NoRequest)
                reason = str(error) if named else f"no association request ({type(error).__name__})"
                self.server.refusals.add("a connection", reason, self.client_address[0])
            self.server.shutdown_request(self.request)
            return
        self.server.stop_waiting(self.request)
        association = self._create_association()
        association.dul.event_queue.get_nowait()  # "connected", of the socket that is replaced
        association.dul.socket = LimitedSocket(association, self.request, self.server, request)
        evt.trigger(association, evt.EVT_CONN_OPEN, {"address": self.client_address})
        association.start()


class _NoRequest(Exception):
    """The first PDU is no association request, or none came in time."""


def _read_request(request: socket.socket) -> bytes:
    """The complete A-ASSOCIATE-RQ PDU.

    Raises:
        _NoRequest: something else came, or nothing in time.
        OSError: the connection was closed, or the TLS handshake failed.
    """
    deadline = time.monotonic() + REQUEST_S
    try:
        head = _read(request, 6, deadline)
        kind, length = struct.unpack(">BxL", head)
        if kind != _ASSOCIATE_RQ or length > PDU_BYTES:
            raise _NoRequest("what came first is no association request")
        return head + _read(request, length, deadline)
    except TimeoutError as error:
        raise _NoRequest(f"no association request within {REQUEST_S:.0f} s") from error


def _read(request: socket.socket, count: int, deadline: float) -> bytes:
    content = bytearray()
    while len(content) < count:
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        request.settimeout(left)
        piece = request.recv(min(count - len(content), _CHUNK_BYTES))
        if not piece:
            raise ConnectionResetError
        content += piece
    return bytes(content)


class LimitedSocket(AssociationSocket):
    """Passes on the association request, which was read before, and then reads the peer's PDUs within the limits."""

    def __init__(
        self, association: Association, request: socket.socket, server: LimitedServer, first_pdu: bytes
    ) -> None:
        super().__init__(association, client_socket=request)
        self._server, self._first = server, bytearray(first_pdu)

    @property
    def ready(self) -> bool:
        """See :class:`pynetdicom.transport.AssociationSocket`."""
        return bool(self._first) or super().ready

    def recv(self, nr_bytes: int) -> bytearray:
        """See :class:`pynetdicom.transport.AssociationSocket`.

        Raises:
            OSError: the connection is lost, or a limit is exceeded.
        """
        if self._first:
            taken, self._first = self._first[:nr_bytes], self._first[nr_bytes:]
            return taken
        try:
            if nr_bytes > PDU_BYTES:
                raise ConnectionAbortedError(f"a PDU of {nr_bytes} bytes, where {PDU_BYTES} were negotiated")
            self._server.unprocessed(self, nr_bytes)
            if self.socket is None:
                raise ConnectionAbortedError("the connection is closed")
            content = bytearray(_read(self.socket, nr_bytes, time.monotonic() + PDU_S))
            self.socket.settimeout(PDU_S)  # for sending
            return content
        except (ConnectionAbortedError, TimeoutError) as error:
            reason = str(error) or f"a PDU that did not come within {PDU_S:.0f} s"
            self._server.refusals.add("an association", reason, self.assoc.requestor.address)
            with contextlib.suppress(OSError):
                if self.socket is not None:
                    self.socket.sendall(_INVALID_PDU)
            raise

    def processed(self, count: int) -> None:
        """Note that a received image of ``count`` bytes is processed."""
        is_last = self.assoc.dimse.message is None and self.assoc.dimse.msg_queue.empty()
        if is_last:  # nothing is left, neither commands nor PDU headers
            self._server.closed(self)
        else:
            self._server.unprocessed(self, -count)

    def _shutdown_socket(self) -> None:
        """As in :class:`pynetdicom.transport.AssociationSocket`, but closes the socket also when its peer has gone."""
        self._server.closed(self)
        if self.socket is not None:
            with contextlib.suppress(OSError):
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
            with contextlib.suppress(OSError):
                self.socket.close()


def reject_for_now(association: Association) -> None:
    """Reject a requested association (in a handler of ``EVT_REQUESTED``) because the limit is reached."""
    association.acse.send_reject(*_LOCAL_LIMIT)
    association.kill()  # when the rejection is sent
