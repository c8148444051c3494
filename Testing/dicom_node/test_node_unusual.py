"""What is rare and allowed: Enhanced MR, and a clock that jumps while studies are at the node."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pydicom
import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.findings import Findings
from GliomaSegLib.dicom_node.queue import State
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
