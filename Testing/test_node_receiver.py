"""The node as a neighbour in the network: real C-STORE in and out, who may send, who breaks off, what is shown."""

from __future__ import annotations

import base64
import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")

from pynetdicom import AE
from pynetdicom.association import Association

from GliomaSegLib.errors import InputError
from GliomaSegLib.node.config import read_config
from GliomaSegLib.node.queue import State
from GliomaSegLib.node.service import Node
from Testing.node_site import NAME, NUMBER, ROOT, Archive, FakeWorker, write_config, write_images

QUIET_S = 0.6
PATIENCE_S = 60.0
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
MR = "1.2.840.10008.5.1.4.1.1.4"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    receive = {"callers": ["SCANNER"], "host": "127.0.0.1", "port": free_port()}
    send = {"host": "127.0.0.1", "port": free_port(), "ae_title": "PACS"}
    return write_config(tmp_path, receive=receive, send=send, quiet_s=QUIET_S, kinds=["rtstruct", "sr"])


@pytest.fixture
def archive(config: Path, tmp_path: Path) -> Iterator[Archive]:
    archive = Archive(tmp_path / "pacs", read_config(config).send.port)
    yield archive
    archive.stop()


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


@pytest.fixture
def node(config: Path) -> Iterator[Node]:
    with at_work(config) as node:
        yield node


def associated(config: Path, caller: str = "SCANNER", called: str = "GLIOMASEG") -> Association:
    entity = AE(caller)
    entity.add_requested_context(MR, pydicom.uid.ExplicitVRLittleEndian)
    receive = read_config(config).receive
    return entity.associate(receive.host, receive.port, ae_title=called)


def send(config: Path, paths: list[Path]) -> list[int]:
    association = associated(config)
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


def test_images_in_answers_out_and_nobody_is_named(
    config: Path, archive: Archive, node: Node, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    paths = write_images(tmp_path / "images", slices=3, StudyDescription=f"glioma {NAME.split('^')[0]}")
    assert send(config, paths) == [0] * 6
    until(lambda: states(node) == [State.ANSWERED])
    uid = pydicom.dcmread(paths[0]).StudyInstanceUID
    answers = [pydicom.dcmread(path) for path in (tmp_path / "pacs" / uid).iterdir()]
    assert len(answers) == 2
    assert {answer.PatientID for answer in answers} == {NUMBER}

    key = node.queue.studies()[0].key
    seen = {path: get(node, path) for path in ("/", "/metrics", "/health", "/drift.csv", "/nothing")}
    assert [code for code, _ in seen.values()] == [200, 200, 200, 200, 404]
    assert f"<code>{key}</code>" in seen["/"][1]
    assert "Not a medical device" in seen["/"][1]
    assert 'gliomaseg_studies{state="answered"} 1' in seen["/metrics"][1]
    assert 'gliomaseg_images_total{fate="new"} 6' in seen["/metrics"][1]
    assert "T1 missing,1" in seen["/drift.csv"][1]
    assert key in caplog.text
    for text in (*(text for _, text in seen.values()), caplog.text):
        assert not any(secret.lower() in text.lower() for secret in (*NAME.split("^"), NUMBER, uid))


def test_only_those_on_the_list_may_send(config: Path, node: Node) -> None:
    assert associated(config, caller="STRANGER").is_rejected
    assert associated(config, called="OTHERNODE").is_rejected
    association = associated(config)
    assert association.is_established
    association.release()
    assert "gliomaseg_associations_refused_total 2" in get(node, "/metrics")[1]


def test_an_association_that_is_broken_off_leaves_a_study_that_waits(
    config: Path, archive: Archive, node: Node, tmp_path: Path
) -> None:
    paths = write_images(tmp_path / "images", slices=3)
    association = associated(config)
    for path in paths[:4]:
        association.send_c_store(path)
    association.abort()
    until(lambda: node.queue.studies()[0].broken_off)
    time.sleep(2 * QUIET_S)
    assert states(node) == [State.ARRIVING]
    assert send(config, paths) == [0] * 6
    until(lambda: states(node) == [State.ANSWERED])
    assert node.queue.studies()[0].notes == ()


def test_other_pixels_under_a_known_uid_are_refused_to_their_sender(
    config: Path, archive: Archive, node: Node, tmp_path: Path
) -> None:
    paths = write_images(tmp_path / "images", slices=3)
    image = pydicom.dcmread(paths[0])
    image.PixelData = b"\1" * len(image.PixelData)
    image.save_as(tmp_path / "other.dcm")
    assert send(config, [*paths, paths[1], tmp_path / "other.dcm"]) == [0] * 7 + [0x0111]
    until(lambda: states(node) == [State.ANSWERED])
    assert "other pixels" in get(node, "/")[1]


def test_lost_storage_is_refused_announced_and_survived(
    config: Path, archive: Archive, node: Node, tmp_path: Path
) -> None:
    paths = write_images(tmp_path / "images", slices=3)
    assert send(config, paths[:3]) == [0] * 3
    node.storage.folder.rename(tmp_path / "unmounted")
    assert send(config, paths[3:]) == [0xA700] * 3
    until(lambda: get(node, "/health")[0] == 503)
    assert "The storage of the node is gone" in get(node, "/health")[1]
    assert "The storage of the node is gone" in get(node, "/")[1]
    (tmp_path / "unmounted").rename(node.storage.folder)
    until(lambda: get(node, "/health")[0] == 200)
    assert send(config, paths) == [0] * 6
    until(lambda: states(node) == [State.ANSWERED])
    assert node.queue.studies()[0].images == 6


def test_a_receiver_that_is_down_gets_its_answers_later(config: Path, node: Node, tmp_path: Path) -> None:
    send(config, write_images(tmp_path / "images", slices=3))
    until(lambda: get(node, "/health")[0] == 503)
    assert "'PACS' at 127.0.0.1" in json.loads(get(node, "/health")[1])["alarms"][0]["sentence"]
    archive = Archive(tmp_path / "pacs", read_config(config).send.port)
    try:
        until(lambda: states(node) == [State.ANSWERED])
        until(lambda: get(node, "/health")[0] == 200)
    finally:
        archive.stop()


def test_a_receiver_that_refuses_is_announced(config: Path, archive: Archive, node: Node, tmp_path: Path) -> None:
    archive.status = 0xA900
    send(config, write_images(tmp_path / "images", slices=3))
    until(lambda: get(node, "/health")[0] == 503)
    assert "refused rtstruct.dcm with the status 0xA900" in get(node, "/health")[1]
    archive.status = 0x0000
    until(lambda: states(node) == [State.ANSWERED])


def test_the_page_asks_for_its_login(config: Path, tmp_path: Path) -> None:
    (tmp_path / "password").write_text("open: sesame\n")
    fields = json.loads(config.read_text())
    web = {"port": 0, "login": {"user": "staff", "password_file": "password"}}
    config.write_text(json.dumps(fields | {"web": web}))
    with at_work(config) as node:
        assert [get(node, path)[0] for path in ("/", "/metrics", "/drift.csv", "/nothing")] == [401] * 4
        assert get(node, "/", "staff:wrong")[0] == 401
        assert get(node, "/", "staff:open: sesame")[0] == 200
        assert get(node, "/health") == (200, '{"ok": true}\n')


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page(config: Path, archive: Archive, node: Node, tmp_path: Path) -> None:
    send(config, write_images(tmp_path / "images", slices=3, StudyDescription="glioma <script>alert(1)</script>"))
    until(lambda: states(node) == [State.ANSWERED])
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    shown = subprocess.run([*command, f"http://127.0.0.1:{node.web.port}/"], capture_output=True, check=True).stdout
    assert "All is well." in shown.decode()
    assert 'class="answered"' in shown.decode()
    assert "<script" not in shown.decode(), "what a header says is text"


def test_the_command_serves_until_it_is_stopped(config: Path) -> None:
    port = free_port()
    config.write_text(json.dumps(json.loads(config.read_text()) | {"web": {"port": port}}))
    command = [sys.executable, "-m", "GliomaSegLib", "serve", str(config)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: health(port) == 200)
        assert associated(config).is_established  # and left open: that must not hold up the end
    finally:
        process.terminate()
        _, told = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert f"http://127.0.0.1:{port}/" in told
    assert "Not a medical device" in told


def test_two_nodes_do_not_share_a_folder(config: Path, node: Node) -> None:
    other = Node(read_config(config), FakeWorker())
    with pytest.raises(InputError, match="Another node is at work"), other.started():
        pass


def test_a_port_that_is_taken_is_named(config: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", read_config(config).receive.port))
        taken.listen()
        node = Node(read_config(config), FakeWorker())
        with pytest.raises(InputError, match="Nothing can be received at"), node.started():
            pass
