"""The whole way, with a real Orthanc server and the real worker: storage goes, the node is killed, no answer lacks."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pydicom
import pytest
import requests
from pydicom.uid import SecondaryCaptureImageStorage

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.config import Config, Orthanc, read_config
from GliomaSegLib.dicom_node.orthanc import OrthancError, OrthancServer, OrthancWatcher
from GliomaSegLib.dicom_node.queue import Queue, State
from GliomaSegLib.dicom_node.receiver import Outcome
from GliomaSegLib.dicom_node.sender import OrthancArchive, Sender
from GliomaSegLib.dicom_node.storage import prepare
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store
from Testing.support.live_node import free_port
from Testing.support.malformed import with_vr
from Testing.support.node_site import (
    NAME,
    NUMBER,
    Site,
    node_process,
    toy_worker,
    write_config,
    write_images,
    write_secret,
)

PROGRAM = shutil.which("Orthanc")
pytestmark = pytest.mark.skipif(PROGRAM is None, reason="Orthanc is not installed (Debian: apt-get install orthanc)")
PATIENCE_S = 240.0
LOGIN = ("gliomaseg", "sesame")


def until(true: Callable[[], Any]) -> None:
    end = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < end, "it took too long"
        time.sleep(0.2)


class Hospital:
    """An Orthanc server with what a test asks of it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.url = f"http://127.0.0.1:{free_port()}"
        settings = {
            "Name": "PACS", "StorageDirectory": str(folder / "db"), "IndexDirectory": str(folder / "db"),
            "HttpPort": int(self.url.rpartition(":")[2]), "DicomPort": free_port(), "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True, "RegisteredUsers": dict([LOGIN]), "StableAge": 1, "Plugins": [],
            "DicomModalities": {}, "OrthancPeers": {},
        }  # fmt: skip
        (folder / "orthanc.json").write_text(json.dumps(settings))
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stderr=log, stdout=log)
        self.session = requests.Session()
        self.session.auth = LOGIN
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None, "Orthanc does not run"
        try:
            return self.session.get(f"{self.url}/system").ok
        except requests.ConnectionError:
            return False

    def send(self, paths: list[Path]) -> None:
        """Images arrive at Orthanc."""
        for path in paths:
            self.session.post(f"{self.url}/instances", data=path.read_bytes()).raise_for_status()

    def modalities(self) -> dict[str, list[str]]:
        """The modalities of the series of every study, by its Study Instance UID."""
        studies = self.session.get(f"{self.url}/studies?expand").json()
        series = self.session.get(f"{self.url}/series?expand").json()
        return {
            study["MainDicomTags"]["StudyInstanceUID"]: sorted(
                one["MainDicomTags"]["Modality"] for one in series if one["ParentStudy"] == study["ID"]
            )
            for study in studies
        }

    def captures(self) -> dict[str, list[pydicom.Dataset]]:
        """The secondary captures of every study, by its Study Instance UID."""
        found: dict[str, list[pydicom.Dataset]] = {}
        for instance in self.session.get(f"{self.url}/instances").json():
            file = pydicom.dcmread(io.BytesIO(self.session.get(f"{self.url}/instances/{instance}/file").content))
            if file.SOPClassUID == SecondaryCaptureImageStorage:
                found.setdefault(file.StudyInstanceUID, []).append(file)
        return found

    def delete_studies(self) -> None:
        """Somebody deletes everything."""
        for study in self.session.get(f"{self.url}/studies").json():
            self.session.delete(f"{self.url}/studies/{study}").raise_for_status()


@pytest.fixture
def hospital(tmp_path: Path) -> Iterator[Hospital]:
    hospital = Hospital(tmp_path / "orthanc")
    yield hospital
    hospital.process.terminate()
    hospital.process.wait()


def configured(tmp_path: Path, hospital: Hospital, **fields: Any) -> Path:
    write_secret(tmp_path / "password", LOGIN[1])
    orthanc = {"url": hospital.url, "login": {"user": LOGIN[0], "password_file": "password"}, "poll_s": 0.3}
    given = {"receive": None, "orthanc": orthanc | {"history": True}, "send": "orthanc", "quiet_s": 1.5}
    return write_config(tmp_path, **(given | fields))


# --- the parts, without threads and time ------------------------------------------------------------------------------


@pytest.fixture
def site(tmp_path: Path, hospital: Hospital) -> Site:
    return site_of(tmp_path, configured(tmp_path, hospital, quiet_s=120))


def site_of(tmp_path: Path, config: Path) -> Site:
    site = Site(config)
    server = OrthancServer(site.config.orthanc)
    site.peer = OrthancArchive(server)
    site.sender = Sender(site.queue, site.storage, site.peer, server, site.alarms, site.clock)
    site.watcher = OrthancWatcher(site.config.orthanc, server, site.receiver, site.queue, site.storage, 1 << 26)
    return site


def test_what_arrives_in_pieces_is_fetched_once_and_answered(site: Site, hospital: Hospital, tmp_path: Path) -> None:
    paths = write_images(tmp_path / "images", slices=3)
    hospital.send(paths[:3])
    site.watcher.poll()
    assert len(site.storage.image_files(site.only().key)) == 3
    hospital.send(paths[3:])
    time.sleep(2)  # until Orthanc calls it stable, and says so
    site.watcher.poll()
    assert len(site.storage.image_files(site.only().key)) == 6
    site.wait(120)
    assert (site.only().state, site.only().revision) == (State.ANSWERED, 1)
    assert list(hospital.modalities().values()) == [["MR", "MR", "SR"]]
    time.sleep(2)
    site.watcher.poll()  # its own answer is none of its business
    assert (site.only().state, site.only().revision) == (State.ANSWERED, 1)


def test_overlays_are_neither_fetched_nor_taken_for_news(
    site: Site, hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[str] = []
    plain = OrthancServer.image

    def counted(server: OrthancServer, instance: str, most_bytes: int) -> bytes | None:
        fetched.append(instance)
        return plain(server, instance, most_bytes)

    monkeypatch.setattr(OrthancServer, "image", counted)
    hospital.send(write_images(tmp_path / "images", slices=3))
    site.watcher.poll()
    site.wait(120)
    assert site.only().state is State.ANSWERED
    for path in write_images(tmp_path / "overlays", slices=3):  # of the same study, and by their own word MR
        overlay = pydicom.dcmread(path)
        overlay.SOPClassUID = overlay.file_meta.MediaStorageSOPClassUID = SecondaryCaptureImageStorage
        overlay.SeriesInstanceUID = f"{overlay.SeriesInstanceUID}.1"[-64:]
        overlay.SOPInstanceUID = overlay.file_meta.MediaStorageSOPInstanceUID = f"{overlay.SOPInstanceUID}.1"[-64:]
        overlay.save_as(path)
        hospital.send([path])
    assert list(hospital.modalities().values()) == [["MR"] * 4 + ["SR"]]
    site.watcher.poll()
    assert (len(fetched), site.only().state, site.only().revision) == (6, State.ANSWERED, 1)

    shutil.rmtree(site.storage.folder)  # lost for good; but the receipt is for the images alone
    site.queue.close()
    prepare(site.storage.folder)
    after = site_of(tmp_path, tmp_path / "node.json")
    after.watcher.poll()
    assert (len(fetched), after.queue.studies()) == (6, [])


def test_a_study_that_was_deleted_is_not_answered(site: Site, hospital: Hospital, tmp_path: Path) -> None:
    hospital.send(write_images(tmp_path / "images", slices=3))
    site.watcher.poll()
    hospital.delete_studies()
    site.wait(120)
    assert site.only().state is State.WITHDRAWN
    assert hospital.modalities() == {}


def test_what_was_there_before_is_left_alone_unless_it_is_asked_for(hospital: Hospital, tmp_path: Path) -> None:
    hospital.send(write_images(tmp_path / "images", slices=1))
    login = {"user": LOGIN[0], "password_file": str(tmp_path / "password")}
    orthanc = {"url": hospital.url, "login": login, "history": False}
    site = site_of(tmp_path, configured(tmp_path, hospital, orthanc=orthanc))
    site.watcher.poll()
    assert site.queue.studies() == []
    hospital.send(write_images(tmp_path / "new", "new", slices=1))
    site.watcher.poll()
    assert site.only().state is State.ARRIVING


def test_an_image_that_orthanc_cannot_give_holds_up_no_other_study(
    site: Site, hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hospital.send(write_images(tmp_path / "bad", "bad", slices=1))
    (bad,) = hospital.modalities()
    hospital.send(write_images(tmp_path / "good", "good", slices=1))
    plain = OrthancServer.image

    def damaged(server: OrthancServer, instance: str, most_bytes: int) -> bytes | None:
        content = plain(server, instance, most_bytes)
        if bad.encode() in content:
            raise OrthancError("Orthanc answered 500 to GET.", 500)
        return content

    with monkeypatch.context() as patch:
        patch.setattr(OrthancServer, "image", damaged)
        with pytest.raises(OrthancError, match="500"):
            site.watcher.poll()
    assert site.only().uid != bad
    site.watcher.poll()
    assert len(site.queue.studies()) == 2


def test_a_wrong_login_is_reported(hospital: Hospital, tmp_path: Path) -> None:
    with pytest.raises(OrthancError, match="refuses the node's login"):
        OrthancServer(Orthanc(url=hospital.url)).last_change()
    with pytest.raises(OrthancError, match="does not answer"):
        OrthancServer(Orthanc(url=f"http://127.0.0.1:{free_port()}")).last_change()


def check_overlays(captures: dict[str, list[pydicom.Dataset]], first: list[pydicom.Dataset]) -> None:
    """Every study has one capture per image, which lies where its image lies; ``first`` are the images of one study."""
    assert [len(one) for one in captures.values()] == [len(first)] * 4
    of_first = captures[first[0].StudyInstanceUID]
    assert {one.PatientID for one in of_first} == {NUMBER}
    assert {str(one.PatientName) for one in of_first} == {NAME}
    assert {one.FrameOfReferenceUID for one in of_first} == {one.FrameOfReferenceUID for one in first}
    assert len({one.SeriesInstanceUID for one in of_first}) == 2
    assert not {one.SeriesInstanceUID for one in of_first} & {one.SeriesInstanceUID for one in first}
    of_image = {one.SourceImageSequence[0].ReferencedSOPInstanceUID: one for one in of_first}
    for image in first:
        assert of_image[image.SOPInstanceUID].ImageOrientationPatient == image.ImageOrientationPatient
    assert all("research only" in one.SeriesDescription for one in of_first)


# --- the whole --------------------------------------------------------------------------------------------------------


def health(port: int) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health") as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def test_every_answer_is_in_orthanc_in_the_end(
    hospital: Hospital, tmp_path: Path, toy_card: Card, toy_store: Store
) -> None:
    job = {"model": "toy", "store": str(toy_store.root), "brain": "stripped", "registration": False}
    port = free_port()
    config = configured(
        tmp_path, hospital, kinds=list(Config.model_fields["kinds"].default), web={"port": port},
        rules=[{"name": "all", "when": {"Modality": "MR"}, "job": job}],
    )  # fmt: skip
    folder, log = read_config(config).folder, tmp_path / "node.log"

    def start() -> subprocess.Popen[bytes]:
        return node_process(config, toy_worker(toy_card), log)

    def answered() -> list[bool]:  # an overlay is of the modality of its images
        return [kinds == ["MR"] * 4 + ["RTSTRUCT", "SEG", "SR"] for kinds in hospital.modalities().values()]

    node = start()
    try:
        first = write_images(tmp_path / "first", "first")
        hospital.send(first)
        until(lambda: any((folder / "studies").glob("*/images/*/*.dcm")))
        hospital.send(write_images(tmp_path / "second", "second"))
        folder.rename(tmp_path / "unmounted")  # the storage goes
        until(lambda: health(port) == 503)
        node.kill()  # and the computer after it
        node.wait()
        assert start().wait() == 1, "without its storage it does not start"
        assert "The storage of the node is gone" in log.read_text()
        hospital.send(write_images(tmp_path / "third", "third"))  # while nobody watches
        (tmp_path / "unmounted").rename(folder)
        node = start()
        until(lambda: answered() == [True] * 3)
        until(lambda: log.read_text().count(": answered") == 3)  # and Orthanc has their receipts

        node.kill()
        node.wait()
        shutil.rmtree(folder)  # this time the disk is lost for good
        prepare(folder)
        hospital.send(write_images(tmp_path / "fourth", "fourth", [Modality.T1C, Modality.T2F]))
        node = start()
        until(lambda: answered() == [True] * 4)
        until(lambda: health(port) == 200)
    finally:
        node.terminate()
        node.wait()
    queue = Queue(folder / "queue.sqlite")
    assert [study.state for study in queue.studies()] == [State.ANSWERED], "Orthanc knows that three were answered"
    queue.close()
    check_overlays(hospital.captures(), [pydicom.dcmread(path) for path in first])
    written = log.read_text() + "".join(path.read_text() for path in (folder / "logs").iterdir())
    assert not any(secret in written for secret in (*NAME.split("^"), NUMBER))


def test_a_malformed_image_is_passed_over_and_the_rest_is_fetched(
    site: Site, hospital: Hospital, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Orthanc itself refuses most of them; so its answer is damaged on the way."""
    hospital.send(paths := write_images(tmp_path / "images", slices=3))
    plain, seen = OrthancServer.image, []

    def damaged(server: OrthancServer, instance: str, most_bytes: int) -> bytes | None:
        seen.append(instance)
        content = plain(server, instance, most_bytes)
        return with_vr(content, (0x0020, 0x000E), b"ZZ") if len(seen) == 2 else content

    monkeypatch.setattr(OrthancServer, "image", damaged)
    site.watcher.poll()
    site.watcher.poll()
    assert len(seen) == len(set(seen)) == len(paths), "and is not fetched again and again"
    site.wait(300)
    assert site.only().state is State.ANSWERED
    assert site.only().notes == ("1 of its images in Orthanc cannot be read; they were passed over.",)


def test_an_image_that_is_too_large_is_passed_over(site: Site, hospital: Hospital, tmp_path: Path) -> None:
    hospital.send(paths := write_images(tmp_path / "images", slices=2))
    site.watcher._most_bytes = max(path.stat().st_size for path in paths) - 1
    site.watcher.poll()
    site.watcher._most_bytes = 1 << 26
    site.watcher.poll()
    assert site.receiver.counts[Outcome.NEW] < len(paths)
