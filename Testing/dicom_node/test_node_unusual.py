"""What is rare and allowed: Enhanced MR, and a clock that jumps while studies are at the node."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pydicom
import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.findings import Findings
from GliomaSegLib.dicom_node.queue import FinishedCase, State, Study
from GliomaSegLib.dicom_node.receiver import Outcome, StoreCounts
from GliomaSegLib.dicom_node.status import Status
from GliomaSegLib.errors import InputError
from GliomaSegLib.study.selection import identify
from Testing.support.enhanced_mr import write_enhanced
from Testing.support.malformed import mutations
from Testing.support.node_site import Site, write_config, write_images

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(write_config(tmp_path))


def status_of(site: Site) -> Status:
    findings = Findings(site.storage, site.queue)
    return Status(
        site.storage, site.queue, site.receiver, site.engine, site.alarms, site.clock, StoreCounts(), findings
    )


@pytest.fixture
def enhanced(tmp_path: Path) -> list[Path]:
    """A study of two Enhanced MR files, each a sequence."""
    images = write_images(tmp_path / "classic", slices=20)
    series = sorted({path.parent for path in images})
    return [write_enhanced([one], tmp_path / "enhanced" / f"{one.name}.dcm") for one in series]


def test_enhanced_mr_is_received_decided_on_and_answered(site: Site, enhanced: list[Path]) -> None:
    site.send(enhanced)
    site.wait(300)
    study = site.only()
    assert (study.state, study.rule, study.images) == (State.ANSWERED, "glioma", 2)
    assert set(identify(site.storage.images(study.key))) == {Modality.T1C, Modality.T2F}
    content = enhanced[0].read_bytes()
    assert site.receiver.receive(content, "dicom")[0] is Outcome.KNOWN
    image = pydicom.dcmread(enhanced[0])
    image.PixelData = bytes(len(image.PixelData))
    image.save_as(enhanced[0])
    assert site.receiver.receive(enhanced[0].read_bytes(), "dicom")[0] is Outcome.CONFLICT


def test_malformed_enhanced_mr_holds_up_no_other_study(site: Site, enhanced: list[Path], tmp_path: Path) -> None:
    for content in mutations(enhanced, 60):
        with contextlib.suppress(InputError):  # anything else fails the test
            site.receiver.receive(content, "dicom")
    good = write_images(tmp_path / "good", study="good", slices=2)
    site.send(good)
    site.wait(600)
    key = site.storage.key(str(pydicom.dcmread(good[0]).StudyInstanceUID))
    assert site.queue.study(key).state is State.ANSWERED


@pytest.mark.parametrize("wall", [0.0, -1.0, 4_102_444_800.0, 1_500_000_000.0], ids=["1970", "before", "2100", "2017"])
def test_a_clock_that_jumps_loses_and_deletes_nothing(site: Site, tmp_path: Path, wall: float) -> None:
    """Waiting goes by a clock that nobody sets; this one is only shown."""
    site.send(write_images(tmp_path / "a", study="a", slices=1))
    site.wait(130)
    site.clock.shown = wall
    site.send(write_images(tmp_path / "b", study="b", slices=1))
    site.wait(60)
    assert sorted(site.states()) == [State.ANSWERED, State.ARRIVING], "the quiet time is neither longer nor shorter"
    site.wait(70)
    assert site.states() == [State.ANSWERED] * 2
    assert all(site.storage.image_files(study.key) for study in site.queue.studies())
    status = status_of(site)
    assert status.page(with_images=False).count('class="answered"') == 2
    assert "week,cases" in status.drift()
    again = Site(tmp_path / "node.json", site.peer)
    again.clock.shown = 1_700_000_000.0
    again.wait(300)
    assert again.states() == [State.ANSWERED] * 2
    assert not again.worker.requests, "and nothing is done again"


def test_what_needs_a_look_comes_first(site: Site) -> None:
    def study(key: str, state: State = State.ANSWERED) -> Study:
        return Study(key, "1", "dicom", state, 1, 9, {}, "", "", "", (), False, False, 1, 0, 0.0, 0.0, 1)

    def listed(key: str, volume_ml: float, **manifest: object) -> Study:
        folder = site.storage.results(key, 1)
        folder.mkdir(parents=True)
        given = {"model": {"id": "any"}, "warnings": [], "review": "draft"} | manifest
        (folder / "manifest.json").write_text(json.dumps(given))
        (folder / "measures.json").write_text(json.dumps({"volumes": [{"name": "WT", "volume_ml": volume_ml}]}))
        return study(key)

    studies = [
        listed("usual", 31.0),
        listed("warned", 31.0, warnings=["The T2 was mirrored."]),
        listed("huge", 900.0),
        study("waits", State.WAITING),
        listed("approved", 900.0, review="approved"),
        listed("empty", 0.0),
        listed("impossible", 40.0, implausible=["Half of the brain is tumour."]),
        study("failed", State.FAILED),
    ]
    finished = [
        FinishedCase(str(ml), 1, 0.0, {"model": model, "volumes_ml": {"WT": float(ml)}})
        for model, first in (("any", 20), ("other", 880))
        for ml in range(first, first + 20)
    ]
    rows = Findings(site.storage, site.queue).listed(studies, finished)
    assert [row.study.key for row in rows] == [
        "impossible", "failed", "huge", "empty", "warned", "usual", "waits", "approved",
    ]  # fmt: skip
    assert [row.look for row in rows] == [True] * 5 + [False] * 3
    assert rows[0].remarks == ("Half of the brain is tumour.",)
    assert rows[2].remarks == ("WT 900 mL, where the median of 20 cases is 30 mL",)
    assert rows[3].remarks[0] == "no tumour was marked"
