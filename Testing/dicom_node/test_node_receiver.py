"""The node as a neighbour in the network: real C-STORE in and out, who may send, who breaks off, what is shown."""

from __future__ import annotations

import json
import logging
import os
import shutil
import socket
import ssl
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")

from pynetdicom import evt

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.config import DicomPeer, read_config
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.sender import DicomArchive, Refused, Unreachable
from GliomaSegLib.dicom_node.service import Node
from GliomaSegLib.dicom_node.tls import Tls
from GliomaSegLib.errors import InputError
from Testing.support.live_node import (
    CAPTURE,
    MR,
    PATIENCE_S,
    QUIET_S,
    associated,
    at_work,
    free_port,
    get,
    health,
    send,
    states,
    until,
)
from Testing.support.node_site import NAME, NUMBER, ROOT, Archive, FakeWorker, write_images, write_secret

NO_PAGE = "There is no such page.\n"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
OPENSSL = shutil.which("openssl")


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


def test_captures_such_as_overlays_are_not_asked_for(config: Path, node: Node) -> None:
    association = associated(config, kinds=(MR, CAPTURE))
    assert [one.abstract_syntax for one in association.accepted_contexts] == [MR]
    association.release()
    assert not associated(config, kinds=(CAPTURE,)).is_established


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


# --- what goes out ----------------------------------------------------------------------------------------------------


def captures(folder: Path, count: int) -> list[Path]:
    """The report of a study and images made of it."""
    paths = write_images(folder, slices=count, sequences=[Modality.T1C])
    for path in paths[1:]:
        image = pydicom.dcmread(path)
        image.SOPClassUID = image.file_meta.MediaStorageSOPClassUID = CAPTURE
        image.save_as(path)
    return paths


def test_hundreds_of_images_go_in_one_association(config: Path, archive: Archive, tmp_path: Path) -> None:
    associations: list[object] = []
    archive._server.bind(evt.EVT_ACCEPTED, associations.append)
    paths = captures(tmp_path / "images", 15)
    assert list(DicomArchive(read_config(config).send).send(paths)) == paths
    assert len(associations) == 1
    uids = {pydicom.dcmread(path).SOPInstanceUID: path for path in paths}
    for stored in (tmp_path / "pacs").rglob("*.dcm"):
        sent = pydicom.dcmread(uids[stored.stem])
        assert pydicom.dcmread(stored) == sent


def test_an_archive_without_captures_gets_the_rest_and_is_named(config: Path, archive: Archive, tmp_path: Path) -> None:
    archive._server.contexts = [one for one in archive._server.contexts if one.abstract_syntax != CAPTURE]
    paths = captures(tmp_path / "images", 3)
    sending = DicomArchive(read_config(config).send).send(paths)
    assert next(sending) == paths[0]
    with pytest.raises(Refused, match=r"'PACS' at .* does not take objects such as .*Secondary Capture Image Storage"):
        next(sending)


# --- TLS --------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tls]:
    """Of the node, of a PACS that trusts it and is trusted, and of a stranger."""
    if OPENSSL is None:
        pytest.skip("the command openssl is not installed")
    folder = tmp_path_factory.mktemp("certificates")
    for name in ("node", "pacs", "stranger"):
        command = [OPENSSL, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        command += ["-days", "2", "-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
        command += ["-keyout", str(folder / f"{name}.key"), "-out", str(folder / f"{name}.pem")]
        subprocess.run(command, check=True, capture_output=True)
    trusted = {"node": "pacs", "pacs": "node", "stranger": "node"}
    return {
        name: Tls(certificate=folder / f"{name}.pem", key=folder / f"{name}.key", authority=folder / f"{other}.pem")
        for name, other in trusted.items()
    }


@pytest.fixture
def secret_config(config: Path, certificates: dict[str, Tls]) -> Path:
    """The configuration with TLS both ways."""
    fields = json.loads(config.read_text())
    tls = certificates["node"].model_dump(mode="json")
    config.write_text(json.dumps(fields | {name: fields[name] | {"tls": tls} for name in ("receive", "send")}))
    return config


def test_images_and_answers_are_encrypted(
    secret_config: Path, archive: Archive, certificates: dict[str, Tls], tmp_path: Path
) -> None:
    archive._server.ssl_context = certificates["pacs"].server()
    paths = write_images(tmp_path / "images", slices=3)
    port = read_config(secret_config).receive.port
    with at_work(secret_config) as node, socket.create_connection(("127.0.0.1", port)):  # one that says nothing
        assert not associated(secret_config).is_established, "without TLS"
        for name, tls in {"no certificate": None, "a stranger's": certificates["stranger"]}.items():
            context = tls.client() if tls else ssl.create_default_context(cafile=certificates["pacs"].authority)
            context.check_hostname = True
            assert not associated(secret_config, tls_args=(context, "127.0.0.1")).is_established, name
        scanner = (certificates["pacs"].client(), "127.0.0.1")
        assert send(secret_config, paths, tls_args=scanner) == [0] * 6
        until(lambda: states(node) == [State.ANSWERED])
    assert len(list((tmp_path / "pacs").rglob("*.dcm"))) == 2


@pytest.mark.parametrize("theirs", [None, "stranger"])
def test_nothing_is_sent_to_an_archive_that_is_not_the_right_one(
    secret_config: Path, archive: Archive, certificates: dict[str, Tls], theirs: str | None, tmp_path: Path
) -> None:
    archive._server.ssl_context = certificates[theirs].server() if theirs else None
    paths = captures(tmp_path / "images", 3)
    with pytest.raises(Unreachable, match="or one side does not accept the other's certificate"):
        list(DicomArchive(read_config(secret_config).send).send(paths))
    assert not list((tmp_path / "pacs").rglob("*.dcm"))


def test_a_certificate_that_vanished_is_reported_and_waited_for(
    secret_config: Path, certificates: dict[str, Tls]
) -> None:
    gone = certificates["node"].model_copy(update={"key": Path("/none/node.key")})
    peer = DicomPeer(host="127.0.0.1", port=104, ae_title="PACS", tls=gone)
    with pytest.raises(Unreachable, match=r"The file /none/node\.key that TLS needs cannot be read"):
        list(DicomArchive(peer).send([]))


@pytest.mark.parametrize("place", ["receive", "send"])
@pytest.mark.parametrize(
    ("field", "content", "says"),
    [
        ("key", None, r"The file .*wrong\.pem that TLS needs cannot be read \(No such file"),
        ("certificate", "no certificate", "are not a certificate and its private key"),
        ("key", "another's", "are not a certificate and its private key"),
        ("key", "locked", "without a passphrase"),
        ("authority", "no certificate", r"wrong\.pem holds no certificate \(PEM\)"),
    ],
)
def test_a_wrong_certificate_is_refused_before_anything_starts(
    secret_config: Path, certificates: dict[str, Tls], place: str, field: str, content: str | None, says: str
) -> None:
    wrong = secret_config.parent / "wrong.pem"
    if content == "another's":
        write_secret(wrong, certificates["pacs"].key.read_text())
    elif content == "locked":
        plain = str(certificates["node"].key)
        command = [OPENSSL, "pkcs8", "-topk8", "-in", plain, "-passout", "pass:sesame", "-out", str(wrong)]
        subprocess.run(command, check=True, capture_output=True)
    elif content:
        wrong.write_text(content)
    fields = json.loads(secret_config.read_text())
    fields[place]["tls"][field] = "wrong.pem"  # seen from the configuration
    secret_config.write_text(json.dumps(fields))
    with pytest.raises(InputError, match=says):
        read_config(secret_config)


# --- the page and the command -----------------------------------------------------------------------------------------


def test_the_page_asks_for_its_login(config: Path, tmp_path: Path) -> None:
    with_login(config, tmp_path)
    with at_work(config) as node:
        assert [get(node, path)[0] for path in ("/", "/metrics", "/drift.csv", "/nothing")] == [401] * 4
        assert get(node, "/", "staff:wrong")[0] == 401
        assert get(node, "/", "staff:open: sesame")[0] == 200
        assert get(node, "/health") == (200, '{"ok": true}\n')


def test_pages_are_neither_kept_nor_framed(node: Node) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{node.web.port}/") as answer:
        headers = answer.headers
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert "unsafe-inline" not in headers["Content-Security-Policy"].partition("script-src")[2]


@pytest.mark.skipif(BROWSER is None, reason="Chromium is not installed")
def test_a_browser_shows_the_page(config: Path, archive: Archive, node: Node, tmp_path: Path) -> None:
    send(config, write_images(tmp_path / "images", slices=3, StudyDescription="glioma <script>alert(1)</script>"))
    until(lambda: states(node) == [State.ANSWERED])
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", "--dump-dom"]
    shown = subprocess.run([*command, f"http://127.0.0.1:{node.web.port}/"], capture_output=True, check=True).stdout
    assert "All is well." in shown.decode()
    assert 'class="answered"' in shown.decode()
    assert shown.decode().count("<script") == 1, "what a header says is text"
    assert 'data-list="ready"' in shown.decode(), "our own script runs, by its hash"


def with_login(config: Path, folder: Path) -> None:
    write_secret(folder / "password", "open: sesame\n")
    web = {"port": 0, "login": {"user": "staff", "password_file": "password"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | {"web": web}))


@pytest.mark.parametrize("login", ["staff:open: sesame", ""])
def test_reports_are_shown_behind_a_login_alone(config: Path, archive: Archive, tmp_path: Path, login: str) -> None:
    if login:
        with_login(config, tmp_path)
    with at_work(config) as node:
        send(config, write_images(tmp_path / "images", slices=3))
        until(lambda: states(node) == [State.ANSWERED])
        study = node.queue.studies()[0]
        key, folder = study.key, node.storage.results(study.key, study.revision)
        (folder / "report.html").write_text("<p>The report.")
        (folder / "manifest.json").write_text(
            json.dumps({"model": {"id": "any"}, "warnings": ["One."], "review": "draft"})
        )
        (folder / "measures.json").write_text(json.dumps({"volumes": [{"name": "WT", "volume_ml": 12.345}]}))
        status, page = get(node, "/", login)
        assert status == 200
        assert "12.35" in page
        assert "not reviewed" in page
        assert (f"study/{key}.jpg" in page) == bool(login)
        assert get(node, f"/study/{key}.html", login) == ((200, "<p>The report.") if login else (404, NO_PAGE))
        assert get(node, f"/study/{key}.html")[0] == (401 if login else 404)
        for name in (f"{key}.nii.gz", "../node.json", f"{key}.html/..", "other.html", "other.jpg", ""):
            assert get(node, f"/study/{name}", login) == (404, NO_PAGE), name


def test_the_command_serves_until_it_is_stopped_and_what_it_makes_is_private(config: Path, tmp_path: Path) -> None:
    port = free_port()
    config.write_text(json.dumps(json.loads(config.read_text()) | {"web": {"port": port}}))
    command = [sys.executable, "-m", "GliomaSegLib", "serve", str(config)]
    open_to_all = 0 if os.name == "posix" else -1
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True, umask=open_to_all)
    try:
        until(lambda: health(port) == 200)
        assert send(config, write_images(tmp_path / "images", slices=1)) == [0, 0]
        assert associated(config).is_established  # and left open: that must not hold up the end
    finally:
        process.terminate()
        _, printed = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert f"http://127.0.0.1:{port}/" in printed
    assert "Not a medical device" in printed
    made = list(read_config(config).folder.rglob("*"))
    assert {path.suffix for path in made} >= {".sqlite", ".dcm"}
    if os.name == "posix":
        assert {path.stat().st_mode & 0o077 for path in made} == {0}


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
