"""A node at work on this machine, and what its tests send to it and ask it."""

from __future__ import annotations

import base64
import random
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pydicom
from pynetdicom import AE
from pynetdicom.association import Association

from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.service import Node
from Testing.support.node_site import FakeWorker, write_config

QUIET_S = 0.6
PATIENCE_S = 60.0
PORTS = iter(random.SystemRandom().sample(range(20_000, 32_000), 12_000))
MR, CAPTURE = "1.2.840.10008.5.1.4.1.1.4", "1.2.840.10008.5.1.4.1.1.7"


def write_live_config(place: Path, **fields: Any) -> Path:
    """A configuration with free ports."""
    receive = {"callers": ["SCANNER"], "host": "127.0.0.1", "port": free_port()} | fields.pop("receive", {})
    send = {"host": "127.0.0.1", "port": free_port(), "ae_title": "PACS"}
    given = {"receive": receive, "send": send, "quiet_s": QUIET_S, "kinds": ["rtstruct", "sr"]}
    return write_config(place, **(given | fields))


def free_port() -> int:
    """Another port that nobody has; below those of outgoing connections, so that none takes it before its server."""
    for port in PORTS:
        with socket.socket() as one, suppress(OSError):
            one.bind(("127.0.0.1", port))
            return port
    raise AssertionError("no port is free")


@contextmanager
def at_work(config: Path, worker: FakeWorker | None = None) -> Iterator[Node]:
    node = Node(read_config(config), worker or FakeWorker())
    with node.started():
        thread = threading.Thread(target=node.run)
        thread.start()
        try:
            yield node
        finally:
            node.end()
            thread.join()


def associated(
    config: Path, caller: str = "SCANNER", called: str = "GLIOMASEG", kinds: tuple[str, ...] = (MR,), **how: Any
) -> Association:
    entity = AE(caller)
    for kind in kinds:
        entity.add_requested_context(kind, pydicom.uid.ExplicitVRLittleEndian)
    receive = read_config(config).receive
    return entity.associate(receive.host, receive.port, ae_title=called, **how)


def send(config: Path, paths: list[Path], **how: Any) -> list[int]:
    association = associated(config, **how)
    statuses = [association.send_c_store(path).Status for path in paths]
    association.release()
    return statuses


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.05)


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return answer.status
    except OSError:
        return 0


def states(node: Node) -> list[State]:
    return [study.state for study in node.queue.studies()]


def get(node: Node, path: str, login: str = "") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{node.web.port}{path}")
    if login:
        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
