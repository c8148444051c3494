"""A study's way through the node: complete, decided, done and sent; what is late, broken off, deleted or killed."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pydicom
import pytest

from GliomaSegLib.dicom_node import receiver as receiver_module
from GliomaSegLib.dicom_node import storage as storage_module
from GliomaSegLib.dicom_node.queue import Queue, State, Study
from GliomaSegLib.dicom_node.receiver import Outcome
from GliomaSegLib.dicom_node.sender import Refused, Unreachable
from GliomaSegLib.dicom_node.storage import Storage, StorageError, prepare
from GliomaSegLib.errors import InputError
from GliomaSegLib.worker.client import WorkerError
from Testing.support.node_site import (
    NAME,
    NUMBER,
    FakePeer,
    FakeWorker,
    Site,
    write_config,
    write_fake_answer,
    write_images,
)

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    """Three images of each of two sequences."""
    return write_images(tmp_path / "images", slices=3)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(write_config(tmp_path))


def again(site: Site, tmp_path: Path) -> Site:
    """The node after a reboot."""
    site.queue.close()
    return Site(tmp_path / "node.json")


def uid(paths: list[Path]) -> str:
    return str(pydicom.dcmread(paths[0]).StudyInstanceUID)


# --- the straight way ------------------------------------------------------------------------------------------


def test_a_study_is_answered(site: Site, images: list[Path]) -> None:
    site.send(images)
    assert site.states() == [State.ARRIVING]
    site.wait(119)
    assert site.states() == [State.ARRIVING], "the quiet time has not passed"
    site.wait(1)
    study = site.only()
    assert (study.state, study.rule, study.images, study.starts) == (State.ANSWERED, "glioma", 6, 1)
    assert site.peer.studies == [uid(images)]
    segment, export = site.worker.requests
    assert (segment["do"], segment["model"], segment["case_id"]) == ("segment", "gliomaseg-any-v2", study.key)
    assert (export["do"], export["kinds"]) == ("export", ["rtstruct"])
    assert study.key not in uid(images)


def test_every_image_prolongs_the_quiet_time_whatever_the_clock_on_the_wall_says(
    site: Site, images: list[Path]
) -> None:
    for path in images:
        site.send([path])
        site.clock.shown += 1e7  # somebody sets the clock, forwards and back
        site.wait(100)
        site.clock.shown -= 2e7
    assert site.states() == [State.ARRIVING]
    site.wait(20)
    assert site.states() == [State.ANSWERED]


def test_what_no_rule_fits_is_kept_and_reported_and_may_be_tried_again(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path))
    site.send(write_images(tmp_path / "images", slices=2, StudyDescription="MR brain"))
    site.wait(120)
    study = site.only()
    assert study.state is State.UNMATCHED
    assert "StudyDescription is 'MR brain', without 'glioma'" in study.reason
    assert len(site.storage.image_files(study.key)) == 4
    site.queue.close()
    config = write_config(tmp_path, [{"name": "all", "job": {}}])
    site = Site(config)
    assert site.states() == [State.UNMATCHED], "only when it is asked for"
    site.engine.again()
    site.wait(120)
    assert (site.only().state, site.only().rule) == (State.ANSWERED, "all")


def test_what_waits_when_the_rules_are_changed_is_decided_again(site: Site, images: list[Path], tmp_path: Path) -> None:
    site.worker.held = True
    site.send(images)
    site.send(write_images(tmp_path / "other", "other", slices=1))
    site.wait(120)
    assert sorted(site.states()) == [State.RUNNING, State.WAITING]
    same = again(site, tmp_path)
    assert sorted(same.states()) == [State.RUNNING, State.WAITING]
    same.queue.close()
    rule = {"name": "glioma", "when": {"StudyDescription": "glioma"}, "job": {"model": "gliomaseg-duo-v2"}}
    (tmp_path / "routing.json").write_text(json.dumps({"rules": [rule]}))
    after = Site(tmp_path / "node.json")
    assert after.states() == [State.ARRIVING] * 2
    after.wait(120)
    assert after.states() == [State.ANSWERED] * 2
    assert {one["model"] for one in after.worker.requests if one["do"] == "segment"} == {"gliomaseg-duo-v2"}


def test_a_rule_may_leave_a_study_alone(site: Site, tmp_path: Path) -> None:
    site.send(write_images(tmp_path / "images", slices=2, StudyDescription="glioma? meningioma"))
    site.wait(120)
    assert (site.only().state, site.only().sentence) == (State.IGNORED, "No glioma is expected.")
    assert not site.worker.requests


def test_two_studies_of_one_patient_that_come_mixed_stay_two(site: Site, tmp_path: Path) -> None:
    first = write_images(tmp_path / "first", "first", slices=3)
    second = write_images(tmp_path / "second", "second", slices=3)
    site.send(itertools.chain.from_iterable(zip(first, second, strict=True)))
    site.wait(120)
    assert site.states() == [State.ANSWERED] * 2
    assert site.peer.studies == sorted([uid(first), uid(second)])
    for study in site.queue.studies():
        there = {str(pydicom.dcmread(path).StudyInstanceUID) for path in site.storage.image_files(study.key)}
        assert there == {study.uid}


# --- late, twice, broken off, deleted ---------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["answered", "running"])
def test_a_late_series_makes_a_new_version(site: Site, images: list[Path], moment: str) -> None:
    site.worker.held = moment == "running"
    site.send(images[:3])
    site.wait(120)
    assert site.states() == [State(moment)]
    site.send(images[3:])
    site.worker.held = False
    site.wait(60)  # the old version is given up
    assert site.states() == [State.ARRIVING]
    site.wait(60)
    study = site.only()
    assert (study.state, study.revision, study.images) == (State.ANSWERED, 2, 6)
    assert site.peer.objects(study.uid) == (2 if moment == "answered" else 1)


def changed(paths: list[Path], **fields: str) -> list[Path]:
    """The same files with other values in their headers."""
    for path in paths:
        image = pydicom.dcmread(path)
        for keyword, value in fields.items():
            setattr(image, keyword, value)
        image.save_as(path)
    return paths


def test_a_study_that_comes_again_is_answered_again_and_not_segmented(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.send(images)
    site.wait(120)
    (answer,) = (tmp_path / "pacs").glob("*/*.dcm")
    answer.unlink()
    site.send(changed(images, AccessionNumber="OF THE ARCHIVE", PatientName=f"{NAME.lower()}^"))
    site.wait(119)
    assert (site.states(), answer.exists()) == ([State.ARRIVING], False)
    site.wait(1)
    assert (site.only().state, site.only().revision) == (State.ANSWERED, 1)
    assert answer.exists()
    assert [request["do"] for request in site.worker.requests] == ["segment", "export"]


def test_images_that_come_again_while_their_study_arrives_or_runs_are_of_one_answer(
    site: Site, images: list[Path]
) -> None:
    site.send(images)
    site.wait(100)
    site.send(images)
    site.wait(100)
    assert site.states() == [State.ARRIVING], "its sender is still at it"
    site.worker.held = True
    site.wait(20)
    site.send(images)
    assert site.states() == [State.RUNNING]
    site.worker.held = False
    site.worker.task.go()
    site.wait(120)
    assert (site.states(), site.only().starts, site.peer.objects(uid(images))) == ([State.ANSWERED], 1, 1)


def test_a_router_that_sends_a_study_for_every_answer_is_not_answered_without_end(
    site: Site, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(receiver_module, "_MOST_STARTS", 2)
    answered = 0
    for _ in range(3):
        site.send(images[:1])
        site.wait(120)
        assert site.states() == [State.ANSWERED]
        answered += bool(site.peer.studies)
        shutil.rmtree(tmp_path / "pacs", ignore_errors=True)
    assert answered == 2
    assert "not answered any more" in site.only().notes[0]


def test_a_study_that_failed_is_tried_again_when_it_comes_again(site: Site, images: list[Path]) -> None:
    site.worker.failures = [WorkerError("No T1.", "InputError")]
    site.send(images)
    site.wait(120)
    assert site.states() == [State.FAILED]
    site.send(images)
    site.wait(120)
    assert site.states() == [State.ANSWERED]


@pytest.mark.parametrize(("keyword", "value"), [("PatientID", "NEW-4711"), ("PatientName", "RIGHT^NAME")])
def test_images_of_a_corrected_patient_replace_the_first_ones(
    site: Site, images: list[Path], tmp_path: Path, keyword: str, value: str
) -> None:
    site.send(images)
    site.wait(120)
    site = again(site, tmp_path)
    site.send(changed(images, **{keyword: value}))
    site.wait(120)
    study = site.only()
    assert (study.state, study.revision, study.images) == (State.ANSWERED, 2, len(images))
    assert "corrected patient" in study.notes[0]
    assert {str(pydicom.dcmread(path).get(keyword)) for path in site.storage.image_files(study.key)} == {value}


def test_an_image_of_another_patient_with_other_pixels_replaces_none(site: Site, images: list[Path]) -> None:
    site.send(images)
    kept = {path: path.read_bytes() for path in site.storage.image_files(site.only().key)}
    other = pydicom.dcmread(images[0])
    other.PatientID, other.PixelData = "ANOTHER", b"\1" * len(other.PixelData)
    other.save_as(images[0])
    assert site.receiver.receive(images[0].read_bytes(), "dicom")[0] is Outcome.CONFLICT
    assert {path: path.read_bytes() for path in site.storage.image_files(site.only().key)} == kept


@pytest.mark.parametrize(("change", "taken"), [(0, Outcome.KNOWN), (1, Outcome.CONFLICT)])
def test_pixels_are_compared_whatever_the_transfer_syntax(
    site: Site, images: list[Path], change: int, taken: Outcome
) -> None:
    site.send(images)
    image = pydicom.dcmread(images[0])
    pixels = image.pixel_array.copy()
    pixels[10, 10] += change
    image.PixelData = pixels.tobytes()
    image.compress(pydicom.uid.RLELossless, generate_instance_uid=False)
    image.save_as(images[0])
    assert site.receiver.receive(images[0].read_bytes(), "dicom")[0] is taken
    assert not list(site.storage.folder.rglob("*.partial"))


def test_an_image_with_other_pixels_under_the_same_uid_is_refused_and_reported(site: Site, images: list[Path]) -> None:
    site.send(images)
    kept = site.storage.image_files(site.only().key)[0].read_bytes()
    other = pydicom.dcmread(next(p for p in images if pydicom.dcmread(p).SOPInstanceUID.encode() in kept))
    other.PixelData = b"\1" * len(other.PixelData)
    other.save_as(images[0])
    assert site.receiver.receive(images[0].read_bytes(), "dicom")[0] is Outcome.CONFLICT
    assert site.storage.image_files(site.only().key)[0].read_bytes() == kept
    assert "came again with other pixels" in site.only().notes[0]
    site.wait(120)
    assert site.states() == [State.ANSWERED]


def test_an_image_that_came_cut_short_is_replaced_by_the_whole_one(site: Site, images: list[Path]) -> None:
    whole = images[0].read_bytes()
    site.receiver.receive(whole[:-300], "dicom")
    assert site.receiver.receive(whole, "dicom")[0] is Outcome.NEW
    (stored,) = site.storage.image_files(site.only().key)
    assert (stored.read_bytes(), site.only().notes) == (whole, ())


def test_a_study_whose_sender_broke_off_waits_for_it(site: Site, images: list[Path]) -> None:
    site.send(images[:4])
    site.receiver.sender_aborted(site.only().key, True)
    site.wait(1700)
    assert site.states() == [State.ARRIVING]
    site.send(images)
    site.receiver.sender_aborted(site.only().key, False)
    site.wait(120)
    assert (site.only().state, site.only().notes) == (State.ANSWERED, ())


def test_a_sender_that_never_comes_back_is_reported(site: Site, images: list[Path], tmp_path: Path) -> None:
    site.send(images[:4])
    site.receiver.sender_aborted(site.only().key, True)
    site = again(site, tmp_path)
    site.wait(1799)
    assert site.states() == [State.ARRIVING], "that it broke off outlives a reboot"
    site.wait(1)
    assert site.states() == [State.ANSWERED]
    assert "images may be missing" in site.only().notes[0]


def test_a_study_that_is_deleted_while_it_runs_is_withdrawn(site: Site, images: list[Path]) -> None:
    site.worker.held = True
    site.send(images)
    site.wait(120)
    site.storage.clear(site.only().key)
    site.wait(3)
    site.wait(3)
    assert (site.only().state, site.peer.studies) == (State.WITHDRAWN, [])


def test_an_overlay_that_comes_back_is_no_image_of_its_study(site: Site, images: list[Path]) -> None:
    site.send(images)
    site.wait(120)
    overlay = pydicom.dcmread(images[0])
    overlay.SOPClassUID = overlay.file_meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    overlay.SeriesInstanceUID, overlay.SOPInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    overlay.save_as(images[0])
    assert site.receiver.receive(images[0].read_bytes(), "dicom")[0] is Outcome.NO_IMAGE
    assert (site.only().state, site.only().revision) == (State.ANSWERED, 1)
    assert len(site.storage.image_files(site.only().key)) == 6


@pytest.mark.parametrize("content", [b"", b"not DICOM" * 100, None])
def test_what_is_no_image_is_refused(site: Site, images: list[Path], content: bytes | None) -> None:
    if content is None:
        image = pydicom.dcmread(images[0])
        del image.SeriesInstanceUID
        image.save_as(images[0])
        content = images[0].read_bytes()
    with pytest.raises(InputError, match="refused"):
        site.receiver.receive(content, "dicom")
    assert not site.queue.studies()


# --- failures ---------------------------------------------------------------------------------------------------------


def test_what_the_study_causes_fails_at_once_and_names_nobody(site: Site, images: list[Path]) -> None:
    site.worker.failures = [WorkerError(f"The exam of {NAME} ({NUMBER}) has no FLAIR.", "InputError")]
    site.send(images)
    site.wait(120)
    assert (site.only().state, site.only().sentence) == (
        State.FAILED,
        "The exam of (withheld) ((withheld)) has no FLAIR.",
    )


def test_a_worker_that_dies_is_started_again(site: Site, images: list[Path]) -> None:
    site.worker.failures = [WorkerError("The worker was killed.")] * 3
    site.send(images)
    site.wait(120)
    assert site.states() == [State.WAITING]
    for _ in range(4):
        site.wait(200)
    assert (site.only().state, site.only().failures) == (State.ANSWERED, 3)


@pytest.mark.parametrize("step", ["segment", "export"])
def test_what_the_worker_of_a_killed_node_has_made_is_taken(
    site: Site, images: list[Path], step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = FakeWorker._do

    def made_already(worker: FakeWorker, request: Mapping[str, Any]) -> None:
        plain(worker, request)
        if request["do"] == step:
            raise WorkerError(f"The output {request['output']} exists already.", "InputError")

    monkeypatch.setattr(FakeWorker, "_do", made_already)
    site.send(images)
    site.wait(120)
    assert (site.states(), len(site.worker.requests)) == ([State.ANSWERED], 2)


def test_a_worker_that_always_dies_is_given_up(site: Site, images: list[Path]) -> None:
    site.worker.failures = [WorkerError("The worker was killed.")] * 9
    site.send(images)
    for _ in range(6):
        site.wait(300)
    assert (site.only().state, site.only().failures, len(site.worker.failures)) == (State.FAILED, 4, 5)


def test_a_worker_that_hangs_is_stopped(site: Site, images: list[Path]) -> None:
    site.worker.held = True
    site.send(images)
    site.wait(120)
    site.wait(7199)
    assert site.states() == [State.RUNNING]
    site.worker.held = False
    site.wait(2)
    site.wait(0)
    assert (site.only().state, site.only().failures) == (State.WAITING, 1)
    assert "had not ended after 120 minutes" in site.only().sentence
    site.wait(60)
    assert site.states() == [State.ANSWERED]


def test_a_study_that_brings_the_computer_down_comes_last(site: Site, tmp_path: Path, images: list[Path]) -> None:
    site.worker.held = True
    site.send(images)
    site.wait(120)
    assert site.states() == [State.RUNNING]
    site = again(site, tmp_path)
    other = write_images(tmp_path / "other", "other", slices=1)
    site.send(other)
    site.worker.held = True
    site.clock.now += 120
    site.engine.tick()
    assert site.worker.requests[0]["case_id"] == site.storage.key(uid(other))


def test_a_receiver_that_does_not_answer_is_reported_and_waited_for(site: Site, images: list[Path]) -> None:
    site.peer.failures = [Unreachable("'PACS' does not answer.")] * 3
    site.send(images)
    site.wait(120)
    assert site.states() == [State.SENDING]
    assert [alarm.name for alarm in site.alarms.all()] == ["receiver"]
    site.wait(1)
    assert len(site.peer.failures) == 2, "it is not asked all the time"
    for pause in (5, 10, 20):
        site.wait(pause)
    assert (site.states(), site.alarms.all()) == ([State.ANSWERED], [])


def test_a_receiver_that_refuses_one_study_gets_the_others(site: Site, images: list[Path], tmp_path: Path) -> None:
    site.peer.failures = [Refused("'PACS' refused seg.dcm with the status 0xA900.")]
    site.send(images)
    site.send(write_images(tmp_path / "other", "other", slices=2))
    site.wait(120)
    assert sorted(site.states()) == [State.ANSWERED, State.SENDING]
    assert "0xA900" in site.alarms.all()[0].sentence
    site.wait(5)
    assert (site.states(), site.alarms.all()) == ([State.ANSWERED] * 2, [])


def test_a_refusal_is_forgotten_with_the_answer_that_was_refused(site: Site, images: list[Path]) -> None:
    site.peer.failures = [Refused("'PACS' refused seg.dcm with the status 0xA900.")]
    site.send(images[:3])
    site.wait(120)
    assert len(site.alarms.all()) == 1
    site.send(images[3:])
    site.wait(1)
    assert (site.states(), site.alarms.all()) == ([State.ARRIVING], [])


# --- an answer of many files -----------------------------------------------------------------------------------------


class PaintingWorker(FakeWorker):
    """Adds a series of overlays to every answer."""

    overlays = 120

    def _do(self, request: Mapping[str, Any]) -> None:
        super()._do(request)
        if request["do"] == "export":
            into = Path(request["output"]) / "overlay" / "t1c"
            into.mkdir(parents=True)
            for number in range(self.overlays):
                write_fake_answer(into / f"IM{number:04d}.dcm", Path(request["results"]))


class FalteringPeer(FakePeer):
    """Takes so many files at a time and is gone; ``calls`` are the files of each call that it has taken."""

    def __init__(self, folder: Path, most: int) -> None:
        super().__init__(folder)
        self._most = most
        self.calls: list[list[str]] = []

    def send(self, files: Iterable[Path]) -> Iterator[Path]:
        """See :class:`~GliomaSegLib.dicom_node.sender.Archive`."""
        self.calls.append([])
        for path in super().send(files):
            if len(self.calls[-1]) == self._most:
                raise Unreachable("'PACS' broke off.")
            self.calls[-1].append(path.name)
            yield path


def test_what_was_taken_is_not_sent_again_and_overlays_come_last(
    tmp_path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    peer = FalteringPeer(tmp_path / "pacs", 70)
    site = Site(write_config(tmp_path, kinds=["sr", "rtstruct"]), peer, PaintingWorker())
    marks: list[int] = []
    plain = Queue.deliver

    def deliver(queue: Queue, study: Study, files: list[str]) -> None:
        marks.append(len(files))
        plain(queue, study, files)

    monkeypatch.setattr(Queue, "deliver", deliver)
    site.send(images)
    site.wait(120)
    assert site.states() == [State.SENDING]
    site.wait(5)
    assert site.states() == [State.ANSWERED]
    sent = [name for call in peer.calls for name in call]
    assert sent[:2] == ["rtstruct.dcm", "sr.dcm"]
    assert sorted(sent[2:]) == [f"IM{number:04d}.dcm" for number in range(120)], "each of them once"
    assert [len(call) for call in peer.calls] == [70, 52]
    assert marks == [50, 20, 50, 2], "the disk is asked once for many"


def test_storage_that_goes_while_an_answer_is_sent_leaves_no_half_answer(tmp_path: Path, images: list[Path]) -> None:
    peer = FalteringPeer(tmp_path / "pacs", 70)
    site = Site(write_config(tmp_path, kinds=["sr"]), peer, PaintingWorker())
    site.send(images)
    site.wait(120)
    assert site.states() == [State.SENDING]
    site.storage.folder.rename(tmp_path / "unmounted")
    site.clock.now += 5
    with pytest.raises(StorageError):
        site.sender.tick()
    (tmp_path / "unmounted").rename(site.storage.folder)

    def go_away(files: Iterable[Path]) -> Iterator[Path]:
        for path in files:
            site.storage.folder.rename(tmp_path / "unmounted")
            path.read_bytes()
            yield path

    site.sender._archive.send = go_away
    with pytest.raises(StorageError):
        site.sender.tick()
    (tmp_path / "unmounted").rename(site.storage.folder)
    del site.sender._archive.send
    site.wait(10)
    assert site.states() == [State.ANSWERED]
    assert [len(call) for call in peer.calls] == [70, 51]


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_storage_that_is_gone_is_noticed_and_nothing_is_written_beside_it(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.send(images[:3])
    site.storage.folder.rename(tmp_path / "unmounted")
    site.storage.folder.mkdir()  # the mount point
    with pytest.raises(StorageError, match="The storage of the node is gone"):
        site.send(images[3:])
    with pytest.raises(StorageError):
        site.engine.tick()
    assert not list(site.storage.folder.iterdir())
    with pytest.raises(InputError, match="Mount its disk"):
        Storage(site.storage.folder)
    site.storage.folder.rmdir()
    (tmp_path / "unmounted").rename(site.storage.folder)
    site.queue.open()
    site.engine.recover()
    site.send(images)
    site.wait(120)
    assert (site.only().state, site.only().images) == (State.ANSWERED, 6)


def test_another_nodes_disk_is_not_taken_for_ours(site: Site, images: list[Path], tmp_path: Path) -> None:
    site.storage.folder.rename(tmp_path / "unmounted")
    prepare(site.storage.folder)
    with pytest.raises(StorageError, match="another node"):
        site.send(images)


def test_a_full_disk_refuses_what_comes_and_makes_room(
    site: Site, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.send(images)
    site.wait(120)
    other = write_images(tmp_path / "other", "other", slices=2)
    monkeypatch.setattr(Storage, "is_full", property(lambda storage: bool(storage.studies())))
    with pytest.raises(StorageError, match="is full"):
        site.send(other)
    site.wait(0)
    assert site.only().cleared, "what has been answered makes room"
    site.send(other[:1])
    assert sorted(site.states()) == [State.ANSWERED, State.ARRIVING]


def test_a_study_whose_disk_ran_full_while_it_ran_is_run_again_when_there_is_room(
    site: Site, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.worker.held = True
    site.send(images)
    site.wait(120)
    site.worker.failures.append(WorkerError("There is no space left on the disk.", "InputError"))
    with monkeypatch.context() as full:
        full.setattr(Storage, "is_full", property(lambda storage: True))
        site.worker.held = False
        site.worker.task.go()
        with pytest.raises(StorageError, match="is full"):
            site.wait(0)
    site.wait(3)
    assert site.only().state is State.ANSWERED


def test_an_image_that_comes_while_its_study_is_cleared_is_not_lost(
    tmp_path: Path, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    site = Site(write_config(tmp_path, keep=0))
    site.engine._retention._before_clearing = lambda study: site.send(images[5:])  # asks Orthanc, which takes its time
    site.send(images[:5])
    site.wait(120)
    site.wait(10)
    site.wait(120)
    assert (site.only().state, site.only().images) == (State.ANSWERED, 6)


def test_only_so_many_settled_studies_keep_their_images(tmp_path: Path) -> None:
    site = Site(write_config(tmp_path, keep=1))
    first = write_images(tmp_path / "first", "first", slices=2)
    site.send(first)
    site.wait(120)
    site.send(write_images(tmp_path / "second", "second", slices=2))
    site.wait(120)
    site.wait(10)
    assert [(study.state, study.cleared) for study in site.queue.studies()] == [
        (State.ANSWERED, True),
        (State.ANSWERED, False),
    ]
    assert len(site.storage.studies()) == 1
    site.send(first[:1])  # one late image of a study that is gone
    site.wait(120)
    study = site.queue.study(site.storage.key(uid(first)))
    assert study.state is State.FAILED
    assert "1 of its images came after its 4 had been deleted here" in study.sentence
    site.send(first)
    site.wait(120)
    assert site.queue.study(study.key).state is State.ANSWERED


# --- what outlives a kill ---------------------------------------------------------------------------------------------


def test_who_saw_an_old_version_of_a_study_changes_nothing(site: Site, images: list[Path]) -> None:
    site.send(images[:3])
    site.wait(120)
    old = site.only()
    site.send(images[3:])
    late = site.only()
    assert site.queue.move(old, State.FAILED, 0.0) is None
    assert site.queue.move(replace(late, revision=1), State.FAILED, 0.0) is None
    assert site.only() == late


def test_an_image_that_was_written_in_the_moment_of_the_kill_counts(
    site: Site, images: list[Path], tmp_path: Path
) -> None:
    site.send(images[:5])
    site.wait(120)
    known = site.storage.image_files(site.only().key)[0]
    known.with_name("another.dcm").write_bytes(images[5].read_bytes())  # on the disk, but not yet in the queue
    site = again(site, tmp_path)
    site.wait(120)
    assert (site.only().state, site.only().revision, site.only().images) == (State.ANSWERED, 2, 6)


@pytest.mark.parametrize(("whole", "images_then"), [(True, 6), (False, 5)])
def test_a_power_cut_may_take_the_name_of_an_image_but_not_the_image(
    site: Site, images: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: bool, images_then: int
) -> None:
    site.send(images[:5])
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", lambda path, target: None)
        site.send(images[5:])
    (unnamed,) = site.storage.folder.rglob("*.partial")
    if not whole:  # it was never answered with success
        unnamed.write_bytes(unnamed.read_bytes()[:-1])
    site = again(site, tmp_path)
    assert not list(site.storage.folder.rglob("*.partial"))
    assert len(site.storage.image_files(site.only().key)) == images_then
    site.send(images)
    site.wait(120)
    assert (site.only().state, site.only().images) == (State.ANSWERED, 6)
    kept = {path.read_bytes() for path in site.storage.image_files(site.only().key)}
    assert kept == {path.read_bytes() for path in images}


# --- a kill at any moment ---------------------------------------------------------------------------------------------


def whole_day(tmp_path: Path, paths: list[Path]) -> Site:
    site = Site(tmp_path / "node.json")
    site.send(paths)
    site.wait(120)
    site.wait(1)
    return site


def killed_at(point: int, day: Callable[[], object]) -> bool:
    """Whether a process that lives that day is killed at its ``point``-th chance; it has no time to clear up."""
    child = os.fork()
    if child == 0:
        _arm(point)
        try:
            day()
        except BaseException:
            os._exit(2)
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, 9), "the day itself must not fail"
    return status == 9


def _arm(point: int) -> None:
    chances = itertools.count(1)

    def chance() -> None:
        if next(chances) == point:
            os._exit(9)

    def risky(owner: type, name: str) -> None:
        plain = getattr(owner, name)

        def before_and_after(*arguments: object, **named: object) -> object:
            chance()
            answer = plain(*arguments, **named)
            chance()
            return answer

        setattr(owner, name, before_and_after)

    for name in ("arrived", "move", "deliver", "finish"):
        risky(Queue, name)
    risky(FakeWorker, "start")
    plain_send, plain_fsync = FakePeer.send, os.fsync

    def send(peer: FakePeer, files: list[Path]) -> object:
        for path in plain_send(peer, files):
            chance()
            yield path

    def fsync(descriptor: int) -> None:
        chance()
        plain_fsync(descriptor)

    FakePeer.send = send
    storage_module.os.fsync = fsync


@pytest.fixture
def fast_disk(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is such: hundreds of times everything is brought safely to the disk."""
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as name:
        yield Path(name)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills a process that was forked")
def test_a_kill_at_any_moment_loses_nothing(tmp_path: Path, fast_disk: Path) -> None:
    paths = write_images(tmp_path / "images", slices=1)
    kills = 0
    for point in itertools.count(1):
        folder = fast_disk / f"day-{point}"
        folder.mkdir()
        write_config(folder)
        if not killed_at(point, lambda folder=folder: whole_day(folder, paths)):
            break
        kills += 1
        if point % 3 == 0:  # and once more, on the way back
            killed_at(point // 2, lambda folder=folder: whole_day(folder, paths))
        site = whole_day(folder, paths)
        assert site.states() == [State.ANSWERED], point
        assert site.peer.studies == [uid(paths)], point
        assert not [path for path in site.storage.folder.rglob("*") if path.name.endswith(".partial")]
        site.queue.close()
    assert kills > 20
