"""The web server of a node: read-only, with a login if one is configured."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import socket
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from GliomaSegLib.dicom_node.config import Web
from GliomaSegLib.dicom_node.status import LIST_SCRIPT, Status
from GliomaSegLib.dicom_node.storage import StorageError
from GliomaSegLib.dicom_node.transitions import log_place
from GliomaSegLib.errors import InputError

_REQUEST_S = 10.0  # a connection is closed after this time, even if it is still sending or reading
# A browser opens six or more at once, and a department may share one address.
_MOST_CONNECTIONS, _MOST_PER_ADDRESS = 64, 24

# Content security: nothing from other hosts, and only the script of the list; reports have scripts of their own.
_LIST_HASH = base64.b64encode(hashlib.sha256(f"\n{LIST_SCRIPT}\n".encode()).digest()).decode("ascii")
_PAGE_POLICY = f"default-src 'none'; style-src 'unsafe-inline'; img-src 'self'; script-src 'sha256-{_LIST_HASH}'"
_REPORT_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data: blob:; script-src 'unsafe-inline' blob:"
_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}

Answer = tuple[HTTPStatus, str, str | bytes]
"""Status, content type and content."""

_STUDY = "/study/"
_NO_PAGE: Answer = (HTTPStatus.NOT_FOUND, "text/plain", "There is no such page.\n")


class WebServer:
    """Serves a :class:`~GliomaSegLib.dicom_node.status.Status` at ``/``, ``/health``, ``/metrics`` and ``/drift.csv``.

    Pictures and reports of studies (``/study/``) are served only if a login is configured. ``/health`` needs no login,
    and without one says only whether all is well.

    Raises:
        InputError: the port is taken, or the login's password cannot be read.
    """

    def __init__(self, config: Web, status: Status) -> None:
        login = config.login
        expected = f"{login.user}:{login.password()}".encode() if login else None
        try:
            self._server = _LimitedServer((config.host, config.port), _handler(status, expected))
        except OSError as error:
            raise InputError(
                f"The status page cannot be shown at {config.host}:{config.port} ({error.strerror}); name another port."
            ) from error

    @property
    def port(self) -> int:
        """The port that it listens on, also if the configured one is 0 (any free port)."""
        return self._server.server_address[1]

    def start(self) -> None:
        """Accept requests."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def stop(self) -> None:
        """Stop the server."""
        self._server.shutdown()
        self._server.server_close()


class _LimitedServer(ThreadingHTTPServer):
    """Closes slow connections and those beyond the limit; each connection has one request and its own thread."""

    daemon_threads = True

    def __init__(self, *arguments: Any) -> None:
        self._connections: dict[socket.socket, tuple[str, float]] = {}  # address, and since when
        self._connections_lock = threading.Lock()
        super().__init__(*arguments)

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """See :meth:`socketserver.BaseServer.verify_request`."""
        address = client_address[0]
        with self._connections_lock:
            mine = sum(where == address for where, _ in self._connections.values())
            if len(self._connections) >= _MOST_CONNECTIONS or mine >= _MOST_PER_ADDRESS:
                return False
            self._connections[request] = (address, time.monotonic())
        return True

    def shutdown_request(self, request: Any) -> None:
        """See :meth:`socketserver.BaseServer.shutdown_request`."""
        with self._connections_lock:
            self._connections.pop(request, None)
        super().shutdown_request(request)

    def service_actions(self) -> None:
        """See :meth:`socketserver.BaseServer.service_actions`; called about twice a second."""
        now = time.monotonic()
        with self._connections_lock:
            slow = [one for one, (_, since) in self._connections.items() if now - since > _REQUEST_S]
        for request in slow:
            with contextlib.suppress(OSError):
                request.shutdown(socket.SHUT_RDWR)  # ends its thread

    def handle_error(self, request: Any, client_address: Any) -> None:
        """See :meth:`socketserver.BaseServer.handle_error`; a client that disconnects is no error."""
        error = sys.exc_info()[1]
        if isinstance(error, Exception) and not isinstance(error, OSError):
            log_place("the status page", error)


def _handler(status: Status, expected: bytes | None) -> type[BaseHTTPRequestHandler]:
    pages: dict[str, Callable[[], Answer]] = {
        "/": lambda: (HTTPStatus.OK, "text/html; charset=utf-8", status.page(expected is not None)),
        "/metrics": lambda: (HTTPStatus.OK, "text/plain; version=0.0.4; charset=utf-8", status.metrics()),
        "/drift.csv": lambda: (HTTPStatus.OK, "text/csv; charset=utf-8", status.drift()),
    }

    def health(logged_in: bool) -> Answer:
        ok, text = status.health()
        code = HTTPStatus.OK if ok else HTTPStatus.SERVICE_UNAVAILABLE
        return code, "application/json", text if logged_in else json.dumps({"ok": ok}) + "\n"

    class Handler(BaseHTTPRequestHandler):
        timeout = _REQUEST_S
        server_version, sys_version = "GliomaSeg", ""

        def do_GET(self) -> None:
            self._send(*self._answer())

        def _answer(self) -> Answer:
            path = urlsplit(self.path).path
            allowed = self._is_allowed()
            if path == "/health":
                return health(allowed)
            if not allowed:
                return HTTPStatus.UNAUTHORIZED, "text/plain", "This page needs a login.\n"
            try:
                if path in pages:
                    return pages[path]()
                may_have_images = expected is not None and path.startswith(_STUDY)
                found = status.findings.file(path.removeprefix(_STUDY)) if may_have_images else None
                return (HTTPStatus.OK, *found) if found else _NO_PAGE
            except StorageError as error:
                return HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", f"{error}\n"
            except Exception as error:  # a defect of GliomaSeg
                log_place("the status page", error)
                text = f"The page cannot be shown ({type(error).__name__}); see the node's log.\n"
                return HTTPStatus.INTERNAL_SERVER_ERROR, "text/plain; charset=utf-8", text

        def _is_allowed(self) -> bool:
            if expected is None:
                return True
            scheme, _, given = self.headers.get("Authorization", "").partition(" ")
            try:
                return scheme.lower() == "basic" and hmac.compare_digest(base64.b64decode(given), expected)
            except ValueError:
                return False

        def _send(self, code: HTTPStatus, kind: str, answer: str | bytes) -> None:
            content = answer.encode() if isinstance(answer, str) else answer
            self.send_response(code)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in _HEADERS.items():
                self.send_header(name, value)
            policy = _REPORT_POLICY if isinstance(answer, bytes) else _PAGE_POLICY
            self.send_header("Content-Security-Policy", f"{policy}; frame-ancestors 'none'; form-action 'none'")
            if code is HTTPStatus.UNAUTHORIZED:
                self.send_header("WWW-Authenticate", 'Basic realm="GliomaSeg", charset="UTF-8"')
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: object) -> None:
            """Requests are not logged."""

    return Handler
