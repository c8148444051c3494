"""DICOM over TLS with certificates of both sides, each checked by the other (DICOM PS3.15 annex B, BCP 195)."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

from GliomaSegLib.dicom_node.permissions import check_secret
from GliomaSegLib.errors import InputError
from GliomaSegLib.record import Record

_SILENCE_S = 30.0


class Tls(Record):
    """Certificates and key for TLS; all files are PEM.

    Attributes:
        certificate: the node's certificate, followed by intermediate certificates if there are any.
        key: its private key without a passphrase; only the owner may be able to read the file.
        authority: CA certificates, one of which must have signed the other side's.
    """

    certificate: Path
    key: Path
    authority: Path

    def server(self) -> ssl.SSLContext:
        """The context for incoming associations: callers need a certificate of the authority.

        Raises:
            InputError: a file cannot be read, or is not what it should be.
        """
        context = _Server(ssl.PROTOCOL_TLS_SERVER)
        context.verify_mode = ssl.CERT_REQUIRED
        return self._loaded(context)

    def client(self) -> ssl.SSLContext:
        """The context for outgoing associations: the certificate must be for the host that is called.

        Raises:
            InputError: a file cannot be read, or is not what it should be.
        """
        return self._loaded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))

    def _loaded(self, context: ssl.SSLContext) -> ssl.SSLContext:
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        for path in (self.certificate, self.key, self.authority):
            _check_readable(path)
        check_secret(self.key, "private key")
        _load(
            f"{self.certificate} and {self.key} are not a certificate and its private key (PEM, without a passphrase)",
            # An empty password, else OpenSSL would prompt for one.
            lambda: context.load_cert_chain(self.certificate, self.key, password=""),
        )
        _load(
            f"{self.authority} holds no certificate (PEM) of the authority that signs for the other side",
            lambda: context.load_verify_locations(self.authority),
        )
        return context


class _Server(ssl.SSLContext):
    """Leaves the handshake to the thread of the association, so that a silent caller blocks no other."""

    def wrap_socket(self, sock: socket.socket, *arguments: Any, **named: Any) -> ssl.SSLSocket:
        """See :meth:`ssl.SSLContext.wrap_socket`."""
        sock.settimeout(_SILENCE_S)
        return super().wrap_socket(sock, *arguments, **named | {"do_handshake_on_connect": False})


def _check_readable(path: Path) -> None:
    try:
        path.read_bytes()
    except OSError as error:
        raise InputError(f"The file {path} that TLS needs cannot be read ({error.strerror}).") from error


def _load(what_is_wrong: str, load: Callable[[], None]) -> None:
    try:
        load()
    except (ssl.SSLError, ValueError) as error:
        raise InputError(f"{what_is_wrong}; make them anew, or name the right files in 'tls'.") from error
