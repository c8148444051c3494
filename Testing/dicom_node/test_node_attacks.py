"""Hosts that attack the node's ports take nothing from listed senders; long runs: ``python -m Testing.bench attack``.

On Linux every address 127.x.y.z is this machine's, so that an attacker has an address of its own here.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")

from pynetdicom import AE

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node import connections, receiver, service, storage_scp, triage, web
from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.header import read_header
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.receiver import Outcome, _identify
from GliomaSegLib.dicom_node.service import Node
from GliomaSegLib.errors import InputError
from Testing.support.attacker import ATTACKER, attack, established, is_closed, request_pdu
from Testing.support.live_node import MR, associated, at_work, get, send, until, write_live_config
from Testing.support.node_site import Site, write_config, write_images

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="only Linux gives an attacker an address of its own")


@pytest.fixture
def hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines short enough for a test."""
    monkeypatch.setattr(connections, "REQUEST_S", 2.0)
    monkeypatch.setattr(connections, "PDU_S", 2.0)
    monkeypatch.setattr(storage_scp, "_ALARM_S", 1.5)
    monkeypatch.setattr(web, "_REQUEST_S", 2.0)


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


def port_of(config: Path) -> int:
    return read_config(config).receive.port


# --- reception -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", request_pdu()[:10], b"\x01\x00" + b"\xff" * 4], ids=["silent", "ten", "4 GB"])
def test_who_says_nothing_keeps_nobody_out(
    hurried: None, config: Path, node: Node, tmp_path: Path, sockets: list[socket.socket], content: bytes
) -> None:
    for _ in range(40):
        sockets.append(attack(port_of(config), content))
    began = time.monotonic()
    assert send(config, write_images(tmp_path / "images", slices=3)) == [0] * 6
    assert time.monotonic() - began < 10
    until(lambda: all(map(is_closed, sockets)))


def test_a_request_that_does_not_come_is_an_alarm_and_in_the_log(
    hurried: None, config: Path, node: Node, sockets: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(connections.MOST_WAITING_PER_ADDRESS + 4):
        sockets.append(attack(port_of(config), b"\x01"))
    until(lambda: "Connections are opened without an association request" in get(node, "/health")[1])
    assert get(node, "/health")[0] == 503
    until(lambda: all(map(is_closed, sockets)))
    until(lambda: get(node, "/health")[0] == 200)
    warnings = [record.message for record in caplog.records if ATTACKER in record.message]
    assert any("too many connections wait without an association request" in text for text in warnings)
    assert any("no association request within 2 s" in text for text in warnings)
    assert len(warnings) == 2, "once in a minute, with the number of the others"
    refused = connections.MOST_WAITING_PER_ADDRESS + 4
    assert f"gliomaseg_associations_refused_total {refused}" in get(node, "/metrics")[1]


def test_many_addresses_close_the_one_that_has_waited_longest(
    config: Path, node: Node, tmp_path: Path, sockets: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "MOST_WAITING", 10)
    for number in range(30):
        sockets.append(attack(port_of(config), source=f"127.0.1.{number + 1}"))
    until(lambda: all(map(is_closed, sockets[:20])))
    assert not any(map(is_closed, sockets[20:]))
    assert send(config, write_images(tmp_path / "images", slices=1)) == [0] * 2


def test_all_associations_taken_is_an_alarm_that_ends(config: Path, tmp_path: Path) -> None:
    write_live_config(tmp_path, receive={"port": port_of(config), "max_associations": 3, "max_per_address": 3})
    with at_work(config) as node:
        taken = [associated(config) for _ in range(3)]
        assert all(one.is_established for one in taken)
        assert associated(config).is_rejected
        assert get(node, "/health")[0] == 503
        assert "All 3 associations are taken (3 by 127.0.0.1)" in get(node, "/health")[1]
        taken.pop().release()
        until(lambda: get(node, "/health")[0] == 200)
        assert send(config, write_images(tmp_path / "images", slices=1)) == [0] * 2
        for one in taken:
            one.release()


def test_one_address_does_not_get_all_associations(config: Path, tmp_path: Path) -> None:
    write_live_config(tmp_path, receive={"port": port_of(config), "max_associations": 5})
    with at_work(config):
        mine = [associated(config, bind_address=(ATTACKER, 0)) for _ in range(5)]
        assert [one.is_established for one in mine] == [True] * 4 + [False]
        assert send(config, write_images(tmp_path / "images", slices=1)) == [0] * 2
        for one in mine[:4]:
            one.release()


def test_the_reason_of_a_refusal_is_in_the_log(config: Path, node: Node, caplog: pytest.LogCaptureFixture) -> None:
    assert associated(config, caller="STRANGER").is_rejected
    assert associated(config, called="OTHERNODE").is_rejected
    assert "an association from 127.0.0.1 was refused: the caller 'STRANGER' is not on the list" in caplog.text
    assert "refused: it called 'OTHERNODE', and this is 'GLIOMASEG'" in caplog.text


# --- what one sender may send ----------------------------------------------------------------------------------------


def test_a_pdu_above_the_negotiated_length_aborts(
    config: Path, node: Node, sockets: list[socket.socket], caplog: pytest.LogCaptureFixture
) -> None:
    one = established(port_of(config))
    sockets.append(one)
    one.sendall(b"\x04\x00" + struct.pack(">L", 0xFFFFFFF0) + bytes(1000))
    assert one.recv(10)[:1] == b"\x07", "A-ABORT"
    assert one.recv(10) == b""
    assert "a PDU of 4294967280 bytes, where 262144 were negotiated" in caplog.text


def test_a_pdu_that_does_not_end_aborts(hurried: None, config: Path, node: Node, sockets: list[socket.socket]) -> None:
    one = established(port_of(config))
    sockets.append(one)
    one.sendall(b"\x04\x00" + struct.pack(">L", 1000) + bytes(10))
    assert one.recv(10)[:1] == b"\x07"


def test_an_endless_image_aborts_and_the_next_sender_is_served(
    config: Path,
    node: Node,
    tmp_path: Path,
    sockets: list[socket.socket],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    limits = connections.Limits(10, 8, 2 << 20)
    monkeypatch.setattr(node.scp.server, "limits", limits)
    one = established(port_of(config))
    sockets.append(one)
    piece = bytes(200_000)
    data = struct.pack(">LBB", len(piece) + 2, 1, 0) + piece  # a fragment that is not the last one
    sent = 0
    while not is_closed(one) and sent < 100 << 20:
        one.settimeout(30)
        with contextlib.suppress(OSError):
            one.sendall(b"\x04\x00" + struct.pack(">L", len(data)) + data)
        sent += len(data)
        time.sleep(0.01)
    assert sent < 20 << 20, "it is closed a little after the limit of 2 MB"
    assert "an image of more than 2 MB" in caplog.text
    assert send(config, write_images(tmp_path / "images", slices=1)) == [0] * 2


def test_what_was_received_and_processed_does_not_count(config: Path, node: Node, tmp_path: Path) -> None:
    server = node.scp.server
    paths = write_images(tmp_path / "images", slices=20)
    server.limits = connections.Limits(10, 8, 4 * max(path.stat().st_size for path in paths))
    assert send(config, paths) == [0] * len(paths), "many images, of which each is small"
    assert sum(server._unprocessed.values()) == 0


# --- deflate ---------------------------------------------------------------------------------------------------------


def test_deflated_images_are_neither_negotiated_nor_inflated(config: Path, node: Node, tmp_path: Path) -> None:
    entity = AE("SCANNER")
    entity.add_requested_context(MR, pydicom.uid.DeflatedExplicitVRLittleEndian)
    asked = entity.associate("127.0.0.1", port_of(config), ae_title="GLIOMASEG")
    assert not asked.is_established

    (path,) = write_images(tmp_path / "images", slices=1, sequences=[Modality.T1C])
    image = pydicom.dcmread(path)
    image.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    image.PixelData = bytes(200 << 20)
    image.save_as(path)
    content = path.read_bytes()
    assert len(content) < 1 << 20
    began = time.perf_counter()
    with pytest.raises(InputError, match="is deflated, which is not accepted"):
        _identify(content)
    assert time.perf_counter() - began < 0.2


def test_an_image_that_says_it_is_huge_is_not_decoded_to_be_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(write_config(tmp_path))
    paths = write_images(tmp_path / "images", slices=1)
    for path in paths:
        image = pydicom.dcmread(path)
        image.NumberOfFrames = 1_000_000
        image.save_as(path)
    site.send(paths)
    image = pydicom.dcmread(paths[0])
    image.file_meta.TransferSyntaxUID = pydicom.uid.JPEG2000Lossless
    image.PixelData = pydicom.encaps.encapsulate([b"\xff\x4f\xff\x51"])
    image.save_as(paths[0])
    monkeypatch.setattr(receiver, "_same_decoded", lambda *given: pytest.fail("it was decoded"))
    assert site.receiver.receive(paths[0].read_bytes(), "dicom")[0] is Outcome.CONFLICT


def test_no_sender_waits_while_headers_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A study whose headers take long to read does not keep the images of another from the disk."""
    site = Site(write_config(tmp_path))
    site.send(write_images(tmp_path / "slow", study="slow", slices=1))
    reading, go_on = threading.Event(), threading.Event()

    def slow(images: Path) -> Any:
        reading.set()
        assert go_on.wait(60)
        return read_header(images)

    monkeypatch.setattr(triage, "read_header", slow)
    site.clock.now += 300
    engine = threading.Thread(target=site.engine.tick)
    engine.start()
    assert reading.wait(60)
    began = time.monotonic()
    site.send(write_images(tmp_path / "other", study="other", slices=1))
    assert time.monotonic() - began < 30
    go_on.set()
    engine.join()
    assert len(site.queue.studies()) == 2


def test_an_image_that_comes_while_headers_are_read_makes_the_study_wait_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(write_config(tmp_path))
    paths = write_images(tmp_path / "images", slices=2)
    site.send(paths[:3])

    def late(images: Path) -> Any:
        monkeypatch.undo()
        header = read_header(images)
        site.send(paths[3:])
        return header

    monkeypatch.setattr(triage, "read_header", late)
    site.clock.now += 300
    site.engine.tick()
    assert site.only().state is State.ARRIVING
    site.wait(300)
    assert (site.only().state, site.only().images, site.only().revision) == (State.ANSWERED, 4, 1)


# --- the status page -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content",
    [pytest.param(b"", marks=pytest.mark.slow), b"GET / HTTP/1.1\r\nX: "],
    ids=["silent", "endless header"],
)
def test_slow_web_clients_take_neither_threads_nor_the_page(
    hurried: None, node: Node, sockets: list[socket.socket], content: bytes
) -> None:
    for _ in range(60):
        sockets.append(attack(node.web.port, content))
    began = time.monotonic()
    assert get(node, "/health")[0] == 200
    assert time.monotonic() - began < 5
    end = time.monotonic() + 20
    while not all(map(is_closed, sockets)):
        assert time.monotonic() < end
        for one in sockets:
            with contextlib.suppress(OSError):
                one.settimeout(5)
                one.sendall(b"a" if content else b"")
        time.sleep(0.3)


def test_a_web_client_has_so_many_connections_and_no_more(node: Node, sockets: list[socket.socket]) -> None:
    for _ in range(web._MOST_PER_ADDRESS + 4):
        sockets.append(attack(node.web.port))
    until(lambda: sum(map(is_closed, sockets)) >= 4)
    assert not any(map(is_closed, sockets[: web._MOST_PER_ADDRESS]))


def test_a_page_that_fails_says_so_and_names_nobody(
    node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    monkeypatch.setattr(node.queue, "counts", lambda: 1 / 0)
    code, text = get(node, "/metrics")
    assert (code, text) == (500, "The page cannot be shown (ZeroDivisionError); see the node's log.\n")
    assert get(node, "/health")[0] == 200


# --- defects of ours -------------------------------------------------------------------------------------------------


def test_an_image_over_which_the_receiver_fails_does_not_keep_the_next_one_out(
    config: Path, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    receive, seen = node.receiver.receive, []

    def fails(content: bytes, origin: Any) -> Any:
        seen.append(content)
        if len(seen) == 2:
            raise NotImplementedError("of SECRETARIUS")
        return receive(content, origin)

    monkeypatch.setattr(node.receiver, "receive", fails)
    assert send(config, write_images(tmp_path / "images", slices=2)) == [0, 0xC000, 0, 0]
    assert "an image could not be received (NotImplementedError)" in caplog.text
    assert "SECRETARIUS" not in caplog.text


def test_a_step_that_fails_is_an_alarm_and_the_next_one_is_done(
    config: Path, node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_DEFECT_S", 0.1)
    tick, failures = node.engine.tick, iter([ZeroDivisionError("of SECRETARIUS")] * 2)

    def fails() -> bool:
        for error in failures:
            raise error
        return tick()

    monkeypatch.setattr(node.engine, "tick", fails)
    send(config, write_images(tmp_path / "images", slices=1))
    until(lambda: "GliomaSeg failed unexpectedly (ZeroDivisionError); see its log." in get(node, "/health")[1])
    until(lambda: node.queue.studies()[0].state is State.SENDING)
