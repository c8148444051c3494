"""What comes out of Orthanc is not trusted: an image or a study that is not what it should be holds up no other.

The server is imitated here, so that it can answer what Orthanc itself never would.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from GliomaSegLib.dicom_node.config import Orthanc
from GliomaSegLib.dicom_node.orthanc import OrthancError, OrthancWatcher
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.receiver import Receiver
from GliomaSegLib.dicom_node.sender import Sender
from Testing.support.malformed import HEADERS
from Testing.support.node_site import Site, write_config, write_images

pytest.importorskip("pynetdicom", reason="pynetdicom (the extra 'node') is not installed")
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:pydicom")


class Server:
    """Holds the images of studies, and counts how often each is fetched."""

    def __init__(self, studies: dict[str, list[Path]]) -> None:
        self.images = {f"{name}-{n}": path for name, paths in studies.items() for n, path in enumerate(paths)}
        self.listed = [{"ChangeType": "NewStudy", "Seq": n, "ID": name} for n, name in enumerate(studies, start=1)]
        self.about = {
            name: {"MainDicomTags": {"StudyInstanceUID": str(pydicom.dcmread(paths[0]).StudyInstanceUID)}}
            for name, paths in studies.items()
        }
        self.fetched: list[str] = []
        self.said: dict[str, Any] = {}
        self.receipts: dict[str, str] = {}

    def changes(self, since: int) -> tuple[list[Any], int, bool]:
        return self.listed[since:], len(self.listed), True

    def last_change(self) -> int:
        return 0

    def has_study(self, uid: str) -> bool:
        return uid in [about["MainDicomTags"]["StudyInstanceUID"] for about in self.about.values()]

    def write_receipt(self, uid: str, text: str) -> None:
        for name, about in self.about.items():
            if about["MainDicomTags"]["StudyInstanceUID"] == uid:
                self.receipts[name] = text

    def study(self, study: str) -> Any:
        return self.said.get(study, self.about[study])

    def mr_images(self, study: str) -> dict[str, list[str]]:
        return {study: [name for name in self.images if name.startswith(f"{study}-")]}

    def receipt(self, study: str) -> str:
        return self.receipts.get(study, "")

    def image(self, instance: str, most_bytes: int) -> bytes:
        self.fetched.append(instance)
        return self.images[instance].read_bytes()


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(write_config(tmp_path))


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server({name: write_images(tmp_path / name, study=name, slices=1) for name in ("bad", "good")})


def watcher(site: Site, server: Server, history: bool = False) -> OrthancWatcher:
    orthanc = Orthanc(url="http://nowhere", history=history)
    return OrthancWatcher(orthanc, server, site.receiver, site.queue, site.storage, 1 << 26)


@pytest.mark.parametrize("how", [*HEADERS.values(), lambda content: b"", lambda content: b"no DICOM"])
def test_a_malformed_image_is_passed_over(site: Site, server: Server, how: Callable[[bytes], bytes]) -> None:
    server.images["bad-0"].write_bytes(how(server.images["bad-0"].read_bytes()))
    watching = watcher(site, server)
    watching.poll()
    watching.poll()
    assert server.fetched.count("bad-0") == 1, "and is not fetched again and again"
    site.wait(300)
    good = site.queue.study(site.storage.key(server.about["good"]["MainDicomTags"]["StudyInstanceUID"]))
    assert good is not None
    assert good.state is State.ANSWERED


@pytest.mark.parametrize("error", [NotImplementedError, MemoryError, RecursionError, AttributeError, OSError])
def test_an_image_over_which_the_receiver_fails_is_passed_over(
    site: Site, server: Server, monkeypatch: pytest.MonkeyPatch, error: type
) -> None:
    receive, bad = Receiver.receive, server.images["bad-0"].read_bytes()

    def fails(receiver: Receiver, content: bytes, origin: Any) -> Any:
        if content == bad:
            raise error("of a header")
        return receive(receiver, content, origin)

    monkeypatch.setattr(Receiver, "receive", fails)
    watching = watcher(site, server)
    watching.poll()
    watching.poll()
    assert server.fetched.count("bad-0") == 1
    site.wait(300)
    assert site.states() == [State.ANSWERED] * 2
    notes = [note for study in site.queue.studies() for note in study.notes]
    assert notes == ["1 of its images in Orthanc cannot be read; they were passed over."]


@pytest.mark.parametrize("said", [{}, [], {"MainDicomTags": None}, {"MainDicomTags": {"StudyInstanceUID": 5}}, "no"])
def test_a_study_of_which_orthanc_says_nonsense_holds_up_no_other(site: Site, server: Server, said: Any) -> None:
    server.said["bad"] = said
    watching = watcher(site, server)
    with pytest.raises(OrthancError, match="could not be fetched"):
        watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED]
    server.said.clear()
    watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * 2, "and is fetched when it can be"


@pytest.mark.parametrize("change", [{}, {"ChangeType": "NewStudy", "Seq": "x", "ID": "a"}, None, [], {"ChangeType": 1}])
def test_a_change_that_is_none_is_passed_over(site: Site, server: Server, change: Any) -> None:
    server.listed.insert(0, change)
    watcher(site, server).poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * 2


def test_a_study_that_was_deleted_and_sent_again_is_answered(site: Site, server: Server) -> None:
    site.sender = Sender(site.queue, site.storage, site.peer, server, site.alarms, site.clock)
    watching, gone = watcher(site, server), server.about
    watching.poll()
    server.about = {}
    site.wait(300)
    assert site.states() == [State.WITHDRAWN] * 2
    server.about = gone
    server.listed += [{"ChangeType": "NewStudy", "Seq": n, "ID": name} for n, name in enumerate(gone, start=3)]
    watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * 2


def test_a_study_that_was_deleted_after_its_answer_and_sent_again_is_answered_again(site: Site, server: Server) -> None:
    site.sender = Sender(site.queue, site.storage, site.peer, server, site.alarms, site.clock)
    watching = watcher(site, server)
    watching.poll()
    site.wait(300)
    server.listed += [{"ChangeType": "StableStudy", "Seq": 3, "ID": "bad"}]  # as when its answer arrives there
    watching.poll()
    assert [study.revision for study in site.queue.studies()] == [1, 1]
    del server.receipts["good"]  # with the study
    server.listed += [{"ChangeType": "NewStudy", "Seq": 4, "ID": "good"}]
    watching.poll()
    site.wait(300)
    assert sorted((study.revision, study.state) for study in site.queue.studies()) == [
        (1, State.ANSWERED),
        (2, State.ANSWERED),
    ]


@pytest.mark.parametrize(("history", "answered"), [(True, 3), (False, 2)])
def test_a_new_database_of_orthanc_is_watched_from_its_beginning(
    site: Site, server: Server, tmp_path: Path, history: bool, answered: int
) -> None:
    server.listed = [{"ChangeType": "Other", "Seq": 0}] * 50 + server.listed
    watching = watcher(site, server, history)
    site.queue.remember("orthanc", "0")
    watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * 2
    fresh = Server({"new": write_images(tmp_path / "new", study="new", slices=1)})
    server.__dict__.update(fresh.__dict__)
    watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * answered
    later = Server({"later": write_images(tmp_path / "later", study="later", slices=1)})
    server.images |= later.images
    server.about |= later.about
    server.listed.append({"ChangeType": "NewStudy", "Seq": 2, "ID": "later"})
    watching.poll()
    site.wait(300)
    assert site.states() == [State.ANSWERED] * (answered + 1)
