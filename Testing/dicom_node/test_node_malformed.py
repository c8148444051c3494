"""A malformed file stops nothing: its study fails by its pseudonym, or its image is passed over; the others go on."""

from __future__ import annotations

import contextlib
import logging
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pydicom
import pytest
from pydicom.datadict import tag_for_keyword
from pydicom.valuerep import VR

from GliomaSegLib.dicom_node import engine as engine_module
from GliomaSegLib.dicom_node import triage as triage_module
from GliomaSegLib.dicom_node.header import _ABOUT_THE_PATIENT, ROUTED_BY, StudyHeader, read_header
from GliomaSegLib.dicom_node.queue import State, Study
from GliomaSegLib.errors import GliomaSegError
from Testing.support.malformed import HEADERS, PATIENT_NAME, mutations, with_vr
from Testing.support.node_site import NAME, Site, write_config, write_images

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


WRITTEN = ("StationName", "ReferringPhysicianName", "OperatorsName", "BodyPartExamined", "StudyID", "PatientAddress")
"""Elements that the phantom's images lack."""


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(write_config(tmp_path))


def damage(paths: list[Path], how: Callable[[bytes], bytes]) -> list[Path]:
    for path in paths:
        path.write_bytes(how(path.read_bytes()))
    return paths


def of(site: Site, paths: list[Path], study: str) -> Study:
    """The row of the study that was made as ``study``."""
    row = site.queue.study(site.storage.key(str(pydicom.dcmread(paths[0]).StudyInstanceUID)))
    assert row is not None, study
    return row


@pytest.mark.parametrize("what", HEADERS)
def test_a_malformed_header_holds_up_no_other_study(site: Site, tmp_path: Path, what: str) -> None:
    bad = damage(write_images(tmp_path / "bad", study="bad", slices=2), HEADERS[what])
    good = write_images(tmp_path / "good", study="good", slices=2)
    for path in bad:
        with contextlib.suppress(GliomaSegError):
            site.receiver.receive(path.read_bytes(), "dicom")
    site.wait(1)
    site.send(good)
    site.wait(300)
    assert of(site, good, "good").state is State.ANSWERED
    assert site.alarms.all() == []


def test_an_image_that_cannot_be_read_is_passed_over_and_noted(site: Site, tmp_path: Path) -> None:
    site.send(write_images(tmp_path / "images", slices=3))
    study = site.only()
    site.storage.image_files(study.key)[0].write_bytes(b"nothing")
    site.wait(300)
    assert site.only().state is State.ANSWERED
    assert "The headers of 1 of its images cannot be read; they were passed over." in site.only().notes


def test_a_study_of_which_nothing_can_be_read_fails(site: Site, tmp_path: Path) -> None:
    site.send(write_images(tmp_path / "images", slices=2))
    for path in site.storage.image_files(site.only().key):
        path.write_bytes(b"nothing")
    site.wait(300)
    assert site.only().state is State.FAILED
    assert site.only().sentence.startswith("Its headers cannot be read, and it was not segmented")


def test_a_value_that_cannot_be_decoded_costs_nothing_but_itself(tmp_path: Path) -> None:
    """Every element that the node reads, in one of two series, with every VR there is and one that there is not."""
    damaged, _ = write_images(tmp_path, slices=1, **dict.fromkeys(WRITTEN, "words"))
    content = damaged.read_bytes()
    described = read_header(tmp_path).values["SeriesDescription"]
    for keyword in (*ROUTED_BY, *_ABOUT_THE_PATIENT):
        tag = pydicom.tag.Tag(tag_for_keyword(keyword))
        if struct.pack("<HH", tag.group, tag.element) not in content:
            continue
        for vr in ("ZZ", *(one.value for one in VR if len(one.value) == 2)):
            damaged.write_bytes(with_vr(content, (tag.group, tag.element), vr.encode()))
            header = read_header(tmp_path)  # no exception
            assert described[1] in header.values["SeriesDescription"]


@pytest.mark.parametrize("vr", [b"US", b"FL", b"UL", b"AT", b"ZZ"])
def test_a_name_that_is_written_as_numbers_is_withheld(tmp_path: Path, vr: bytes) -> None:
    name = "Ottilie^Secreta."  # of 16 letters: as numbers they are read without an error
    paths = write_images(tmp_path, slices=1, PatientName=name, StudyDescription="glioma of Ottilie")
    damage(paths, lambda content: with_vr(content, PATIENT_NAME, vr))
    header = read_header(tmp_path)
    assert header.shown(*header.values["StudyDescription"]) == "glioma of (withheld)"


@pytest.mark.parametrize("error", [NotImplementedError, MemoryError, RecursionError, AttributeError, OSError])
@pytest.mark.parametrize("when", ["triage", "start"])
def test_any_exception_fails_its_study_and_no_other(
    site: Site,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    error: type,
    when: str,
) -> None:
    bad = write_images(tmp_path / "bad", study="bad", slices=1)
    good = write_images(tmp_path / "good", study="good", slices=1)
    key = site.storage.key(str(pydicom.dcmread(bad[0]).StudyInstanceUID))

    def fails(images: Path) -> StudyHeader:
        if images.parent.name == key:
            raise error(f"a value of {NAME}")
        return read_header(images)

    monkeypatch.setattr({"triage": triage_module, "start": engine_module}[when], "read_header", fails)
    site.send(bad)
    site.send(good)
    site.wait(300)
    assert of(site, good, "good").state is State.ANSWERED
    failed = of(site, bad, "bad")
    assert failed.state is State.FAILED
    assert failed.sentence.endswith(f"({error.__name__}).")
    assert f"study {key}: {error.__name__}" in caplog.text
    assert NAME not in caplog.text, "an exception may quote a header"

    again = Site(tmp_path / "node.json", site.peer)
    again.wait(300)
    assert of(again, bad, "bad").state is State.FAILED, "and not taken up again by a restart"
    monkeypatch.undo()
    again.engine.again()
    again.wait(300)
    assert of(again, bad, "bad").state is State.ANSWERED


def test_a_damaged_result_fails_its_study_and_no_other(site: Site, tmp_path: Path) -> None:
    site.worker.held = True
    site.send(write_images(tmp_path / "bad", study="bad", slices=1))
    site.wait(130)
    site.send(good := write_images(tmp_path / "good", study="good", slices=1))
    results = Path(site.worker.requests[-1]["output"])
    site.worker.task.go()
    (results / "measures.json").write_text("[1, 2]")
    site.worker.held = False
    site.wait(300)
    assert of(site, good, "good").state is State.ANSWERED
    assert sorted(site.states()) == [State.ANSWERED, State.FAILED]


def test_an_answer_that_cannot_be_sent_holds_up_no_other(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    send, key = site.peer.send, []

    def fails(files):
        files = list(files)
        if not key or f"/{key[0]}/" in files[0].as_posix():
            key.append(files[0].parts[-3])
            raise TypeError("no such thing")
        return send(files)

    monkeypatch.setattr(site.peer, "send", fails)
    site.send(write_images(tmp_path / "bad", study="bad", slices=1))
    site.wait(130)
    site.send(write_images(tmp_path / "good", study="good", slices=1))
    site.wait(130)
    assert sorted(site.states()) == [State.ANSWERED, State.SENDING]
    (alarm,) = site.alarms.all()
    assert "It could not be sent (TypeError); see the log." in alarm.sentence
    monkeypatch.undo()
    site.wait(700)
    assert site.states() == [State.ANSWERED] * 2
    assert site.alarms.all() == []


def test_mutated_files_leave_the_node_at_work(site: Site, tmp_path: Path) -> None:
    """``python -m Testing.bench malformed`` does the same with 500, and has the worker read them."""
    images = write_images(tmp_path / "images", study="bad", slices=3)
    refused = 0
    for content in mutations(images, 120):
        try:
            site.receiver.receive(content, "dicom")
        except GliomaSegError:
            refused += 1
    site.send(good := write_images(tmp_path / "good", study="good", slices=2))
    site.wait(600)
    assert refused > 10
    assert of(site, good, "good").state is State.ANSWERED
    assert not {State.ARRIVING, State.WAITING, State.RUNNING, State.SENDING} & set(site.states())


# --- what is shown ---------------------------------------------------------------------------------------------------


def test_two_thousand_names_are_withheld_in_no_time() -> None:
    names = tuple(f"Patient{number:04}" for number in range(2000))
    header = StudyHeader({}, names)
    began = time.perf_counter()
    for _ in range(28):
        assert header.shown("MR glioma of Patient1999 and patient0001, not of Patient19990") == (
            "MR glioma of (withheld) and (withheld), not of Patient19990"
        )
    assert time.perf_counter() - began < 2.0, "it took 38 s with an expression for each"


def test_too_many_names_withhold_everything() -> None:
    assert StudyHeader({}, tuple(map(str, range(10_000, 20_000)))).shown("MR glioma") == "(withheld)"


def test_control_characters_reach_neither_the_page_nor_the_log(
    site: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    site.send(write_images(tmp_path / "images", slices=1, StudyDescription="glioma \x1b]0;owned\x07 \x1b[31mred"))
    site.wait(300)
    assert site.only().state is State.ANSWERED
    assert "\x1b" not in site.only().reason + caplog.text
    assert "glioma ]0;owned [31mred" in site.only().reason
