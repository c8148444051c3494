"""What a node keeps: readable by its user alone, and mended when the queue is damaged."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.queue import State, Study
from GliomaSegLib.dicom_node.service import repair_queue
from GliomaSegLib.dicom_node.storage import StorageError, prepare
from GliomaSegLib.dicom_node.tls import Tls
from GliomaSegLib.errors import InputError
from Testing.support.malformed import with_vr
from Testing.support.node_site import ROOT, Site, write_config, write_images, write_secret

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")


# --- who may read ----------------------------------------------------------------------------------------------------

needs_modes = pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")


@needs_modes
def test_a_folder_that_was_there_already_becomes_private(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir(mode=0o755)
    (tmp_path / "disk").chmod(0o755)
    (tmp_path / "disk" / "lost+found").mkdir()
    prepare(tmp_path / "disk")
    assert (tmp_path / "disk").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "disk" / "node.json").stat().st_mode & 0o777 == 0o600


@needs_modes
def test_every_start_closes_the_folder_and_its_files(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path))
    (site.storage.folder / "logs").mkdir()
    kept = [site.storage.folder, *(site.storage.folder / name for name in ("node.json", "queue.sqlite", "logs"))]
    for path in kept:
        path.chmod(0o755)
    Site(tmp_path / "node.json")
    assert {path.stat().st_mode & 0o077 for path in kept} == {0}


@needs_modes
def test_a_folder_that_cannot_be_closed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = write_config(tmp_path)
    (tmp_path / "node").chmod(0o755)
    monkeypatch.setattr(Path, "chmod", lambda *given: None)  # as on a disk that has no permissions
    with pytest.raises(InputError, match=r"node can be read by others \(mode 0755\) and that cannot be changed"):
        Site(config)


@needs_modes
@pytest.mark.parametrize(("mode", "refused"), [(0o644, True), (0o620, True), (0o640, False), (0o600, False)])
def test_a_password_that_all_can_read_is_refused(tmp_path: Path, mode: int, refused: bool) -> None:
    write_secret(tmp_path / "password", "sesame").chmod(mode)
    config = write_config(tmp_path, web={"login": {"user": "u", "password_file": "password"}})
    with pytest.raises(InputError, match="is open to other users") if refused else contextlib.nullcontext():
        read_config(config)


@needs_modes
@pytest.mark.parametrize(
    ("mode", "says"), [(0o644, "private key .* is open to other users"), (0o600, "are not a cert")]
)
def test_a_tls_key_that_all_can_read_is_refused(tmp_path: Path, mode: int, says: str) -> None:
    for name in ("certificate", "key", "authority"):
        write_secret(tmp_path / name, "no PEM").chmod(mode if name == "key" else 0o644)
    tls = Tls(**{name: tmp_path / name for name in ("certificate", "key", "authority")})
    for side in (tls.server, tls.client):
        with pytest.raises(InputError, match=says):
            side()


@needs_modes
def test_what_the_command_makes_is_private(tmp_path: Path) -> None:
    """The umask of the shell that starts it does not count."""
    script = "import os; os.umask(0)\nfrom GliomaSegLib.dicom_node.permissions import create_privately as c; c()\n"
    script += f"open({str(tmp_path / 'made')!r}, 'w')"
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)
    assert (tmp_path / "made").stat().st_mode & 0o777 == 0o600


# --- a damaged queue -------------------------------------------------------------------------------------------------


def test_a_damaged_queue_says_its_remedy_which_sends_the_same_answers_again(
    tmp_path: Path,
) -> None:
    config = write_config(tmp_path)
    site = Site(config)
    site.send(write_images(tmp_path / "images", slices=2))
    site.wait(300)
    assert site.only().state is State.ANSWERED
    uid, sent = site.peer.studies[0], site.peer.objects(site.peer.studies[0])
    site.queue.close()
    database = site.storage.database
    database.write_bytes(database.read_bytes()[:2000] + b"\xff" * 4000)
    with pytest.raises(StorageError, match=r"'gliomaseg serve CONFIG --repair' moves it aside"):
        Site(config)
    assert "moves it aside" not in repair_queue(read_config(config))
    assert list(database.parent.glob("queue.sqlite.damaged-*"))
    again = Site(config, site.peer)
    again.wait(300)
    assert again.only().state is State.ANSWERED
    assert not again.worker.requests, "nothing was computed again"
    assert (site.peer.studies, site.peer.objects(uid)) == ([uid], sent), "the archive has everything once"
    again.queue.close()
    assert "is in order; nothing was changed" in repair_queue(read_config(config))


def test_an_image_that_came_after_the_answers_is_not_lost_with_the_queue(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path))
    paths = write_images(tmp_path / "images", slices=2)
    site.send(paths[:2])
    site.wait(300)
    site.send(paths[2:])
    answers = site.storage.answers(site.only().key, 1)
    os.utime(answers, (1, 1))
    site.queue.close()
    site.storage.database.unlink()
    again = Site(tmp_path / "node.json", site.peer)
    again.wait(300)
    assert [request["do"] for request in again.worker.requests] == ["segment", "export"]
    assert again.only().revision == 2


def test_an_image_that_cannot_be_read_does_not_keep_its_study_from_being_adopted(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path))
    site.send(write_images(tmp_path / "images", slices=2))
    first, *_ = site.storage.image_files(site.only().key)
    first.write_bytes(with_vr(first.read_bytes(), (0x0020, 0x000D), b"ZZ"))
    site.queue.close()
    site.storage.database.unlink()
    again = Site(tmp_path / "node.json", site.peer)
    assert again.only().state is State.ARRIVING


def test_a_study_that_cannot_be_deleted_does_not_keep_the_others(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path, keep=0))
    for name in ("a", "b"):
        site.send(write_images(tmp_path / name, study=name, slices=1))
    kept = site.queue.studies()[0].key

    def fails(study: Study) -> None:
        if study.key == kept:
            raise TypeError("no such thing")

    site.engine._retention._before_clearing = fails
    site.wait(300)
    site.wait(300)
    assert [study.key for study in site.queue.studies() if not study.cleared] == [kept]


def test_a_row_that_cannot_be_understood_does_not_stop_the_start(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    site = Site(config)
    for name in ("a", "b"):
        site.send(write_images(tmp_path / name, study=name, slices=1))
    site.wait(300)
    first, second = site.queue.studies()
    site.queue.close()
    with sqlite3.connect(site.storage.database) as database:
        database.execute("UPDATE studies SET state = 'dancing' WHERE key = ?", (first.key,))
        database.execute("UPDATE studies SET plan = '{' WHERE key = ?", (second.key,))
        database.execute("UPDATE cases SET record = '[' WHERE key = ?", (second.key,))
    database.close()
    again = Site(config, site.peer)
    assert again.states() == [State.FAILED] * 2
    assert {study.sentence for study in again.queue.studies()} == {
        "Its row in the queue cannot be read; start the node with --again to process it again."
    }
    again.engine.again()
    again.wait(300)
    assert again.states() == [State.ANSWERED] * 2
