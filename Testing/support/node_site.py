"""A small hospital for tests of the node: studies to send, a clock that is set by hand, a worker that costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pydicom
import SimpleITK as sitk
from pydicom.uid import ComprehensiveSRStorage, ExplicitVRLittleEndian, generate_uid

from GliomaSegLib.case import Modality
from GliomaSegLib.dicom_node.alarms import Alarms
from GliomaSegLib.dicom_node.completeness import Completeness
from GliomaSegLib.dicom_node.config import Config, read_config
from GliomaSegLib.dicom_node.engine import Engine
from GliomaSegLib.dicom_node.queue import Queue, State, Study
from GliomaSegLib.dicom_node.receiver import Receiver
from GliomaSegLib.dicom_node.sender import Archive as AnswerArchive
from GliomaSegLib.dicom_node.sender import Sender
from GliomaSegLib.dicom_node.storage import Storage, prepare
from GliomaSegLib.errors import Cancelled, GliomaSegError
from GliomaSegLib.io.folder import MANIFEST, PROGRAM, written_whole
from GliomaSegLib.phantom.dicom import write_series
from GliomaSegLib.worker.client import Event, WorkerError
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from Testing.support.study import volume

ROOT = Path(__file__).parents[2]
NAME, NUMBER = "SECRETARIUS^OTTILIE", "MRN-4711"
RULES: list[dict[str, Any]] = [
    {"name": "not of interest", "when": {"StudyDescription": "meningioma"}, "ignore": "No glioma is expected."},
    {"name": "glioma", "when": {"StudyDescription": "glioma"}, "job": {"model": "gliomaseg-any-v2"}},
]


def write_images(
    folder: Path,
    study: str = "a",
    sequences: Iterable[Modality] = (Modality.T1C, Modality.T2F),
    slices: int = 20,
    **tags: object,
) -> list[Path]:
    """The first ``slices`` images of each sequence of a tiny study that is called ``study`` and has more ``tags``."""
    paths = []
    for sequence in sequences:
        into = folder / sequence.value
        write_series(sitk.Cast(volume(sequence), sitk.sitkUInt16), sequence, into, study)
        for path in sorted(into.iterdir())[slices:]:
            path.unlink()
        for path in sorted(into.iterdir()):
            image = pydicom.dcmread(path)
            described = {"PatientName": NAME, "PatientID": NUMBER, "StudyDescription": "MR glioma"} | tags
            for keyword, value in described.items():
                setattr(image, keyword, value)
            image.save_as(path)
            paths.append(path)
    return paths


def write_config(place: Path, rules: list[dict[str, Any]] | None = None, **fields: Any) -> Path:
    """A configuration, with its folder made."""
    (place / "routing.json").write_text(json.dumps({"rules": rules or RULES}))
    given = {
        "folder": "node",
        "routing": "routing.json",
        "receive": {"callers": ["SCANNER"], "host": "127.0.0.1"},
        "send": {"host": "127.0.0.1", "port": 104, "ae_title": "PACS"},
        "web": {"port": 0},
        "quiet_s": 120,
        "free_gb": 0,
        "kinds": ["rtstruct"],
    }
    path = place / "node.json"
    path.write_text(json.dumps(given | fields))
    prepare(place / "node")
    return path


def write_secret(path: Path, text: str) -> Path:
    """A file that only its owner can read."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    return path


class FakeClock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now, self.shown = 1000.0, 1_700_000_000.0

    def monotonic(self) -> float:
        """See :class:`~GliomaSegLib.dicom_node.clock.Clock`."""
        return self.now

    def wall(self) -> float:
        """See :class:`~GliomaSegLib.dicom_node.clock.Clock`."""
        return self.shown


class FakeTask:
    """A request that is answered at once, or when it is let go."""

    def __init__(self, work: Any, held: bool) -> None:
        self._work = work
        self.error: GliomaSegError | None = None
        self.done = False
        if not held:
            self.go()

    def go(self) -> None:
        """Do what was asked."""
        try:
            self._work()
        except GliomaSegError as error:
            self.error = error
        self.done = True

    def cancel(self) -> None:
        """End it without an answer."""
        if not self.done:
            self.error, self.done = Cancelled("stopped"), True

    def poll(self) -> list[Event]:
        """Nothing was said meanwhile."""
        return []

    @property
    def result(self) -> dict[str, Any]:
        """The answer, or the error."""
        if self.error:
            raise self.error
        return {}


class FakeWorker:
    """Writes results and answers of the right shape. ``failures`` are raised, one per request; ``held`` waits."""

    def __init__(self) -> None:
        self.requests: list[Mapping[str, Any]] = []
        self.failures: list[WorkerError] = []
        self.held = False
        self.task: FakeTask | None = None

    def start(self, request: Mapping[str, Any]) -> FakeTask:
        """See :class:`~GliomaSegLib.dicom_node.engine.Worker`."""
        self.requests.append(request)
        self.task = FakeTask(lambda: self._do(request), self.held)
        return self.task

    def close(self) -> None:
        """See :class:`~GliomaSegLib.dicom_node.engine.Worker`."""

    def _do(self, request: Mapping[str, Any]) -> None:
        if self.failures:
            raise self.failures.pop(0)
        with written_whole(Path(request["output"])) as folder:
            if request["do"] == "segment":
                write_fake_results(folder, request)
            else:
                for kind in request["kinds"]:
                    write_fake_answer(folder / f"{kind}.dcm", Path(request["results"]))


def write_fake_results(folder: Path, request: Mapping[str, Any]) -> None:
    """What the node reads of a folder of results."""
    one = {"name": f"FLAIR of {NAME.split('^')[0]}", "confidence": 0.7, "moved_mm": 1.5, "mutual_information": 0.4}
    manifest = {
        "program": PROGRAM, "model": {"id": request["model"]}, "sequences": {"t2f": one}, "warnings": [],
        "study": request["study"],
    }  # fmt: skip
    (folder / "measures.json").write_text(json.dumps({"volumes": [{"name": "WT", "volume_ml": 12.0}]}))
    (folder / MANIFEST).write_text(json.dumps(manifest))


def write_fake_answer(path: Path, results: Path) -> None:
    """A DICOM object of the study that was segmented."""
    study = Path(json.loads((results / MANIFEST).read_text())["study"])
    image = pydicom.dcmread(next(study.glob("*/*.dcm")), stop_before_pixels=True)
    answer = pydicom.Dataset()
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "StudyTime", "AccessionNumber"):
        setattr(answer, keyword, image.get(keyword, ""))
    answer.SOPClassUID, answer.Modality = ComprehensiveSRStorage, "SR"
    answer.SeriesInstanceUID, answer.SOPInstanceUID = generate_uid(), generate_uid()
    answer.file_meta = pydicom.dataset.FileMetaDataset()
    answer.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    answer.save_as(path, enforce_file_format=True)


class FakePeer:
    """Copies what it takes into a folder, by Study Instance UID; ``failures`` are raised, one per study."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.failures: list[GliomaSegError] = []

    def send(self, files: Iterable[Path]) -> Iterator[Path]:
        """See :class:`~GliomaSegLib.dicom_node.sender.Archive`."""
        if self.failures:
            raise self.failures.pop(0)
        for path in files:
            take_answer(self._folder, pydicom.dcmread(path))
            yield path

    @property
    def studies(self) -> list[str]:
        """The studies that were answered."""
        return sorted(path.name for path in self._folder.iterdir()) if self._folder.exists() else []

    def objects(self, study: str) -> int:
        """How many objects a study has got."""
        return len(list((self._folder / study).iterdir()))


def take_answer(folder: Path, answer: pydicom.Dataset) -> None:
    """Keep an answer as an archive does: once per SOP Instance UID."""
    into = folder / answer.StudyInstanceUID
    into.mkdir(parents=True, exist_ok=True)
    answer.save_as(into / f"{answer.SOPInstanceUID}.dcm", enforce_file_format=True)


class Site:
    """A node's parts without threads, on the folder of a configuration; made again it is the node after a reboot."""

    def __init__(self, config: Path, peer: AnswerArchive | None = None, worker: FakeWorker | None = None) -> None:
        self.config: Config = read_config(config)
        self.clock, self.worker = FakeClock(), worker or FakeWorker()
        self.peer = peer or FakePeer(config.parent / "pacs")
        self.storage = Storage(self.config.folder)
        self.queue = Queue(self.storage.database)
        self.alarms = Alarms(self.clock)
        self.completeness = Completeness(self.clock, self.config.quiet_s, self.config.after_abort_s)
        self.receiver = Receiver(self.storage, self.queue, self.completeness, self.clock)
        self.engine = Engine(
            self.config, self.config.rules(), self.storage, self.queue, self.receiver, self.completeness, self.worker,
            self.clock,
        )  # fmt: skip
        self.sender = Sender(self.queue, self.storage, self.peer, None, self.alarms, self.clock)
        self.engine.recover()

    def send(self, paths: Iterable[Path]) -> None:
        """Images arrive."""
        for path in paths:
            self.receiver.receive(path.read_bytes(), "dicom")

    def wait(self, seconds: float) -> None:
        """Time passes; everything that can be done is done."""
        self.clock.now += seconds
        while self.engine.tick() or self.sender.tick():
            pass

    def only(self) -> Study:
        """The only study."""
        (study,) = self.queue.studies()
        return study

    def states(self) -> list[State]:
        """How the studies stand, by turn."""
        return [study.state for study in self.queue.studies()]


# The worker itself, with the toy model of the tests in its zoo.
_TOY_WORKER = """
import json
import subprocess
import sys
sys.path[:0] = [sys.argv[1]]
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card_json import card_from
from GliomaSegLib.zoo.loaders import FAMILIES, Family
card = card_from(json.loads(sys.argv[2]))
catalogue.all_cards = lambda: {card.id: card}
FAMILIES[card.network.family] = Family("Testing.support.toy")
from GliomaSegLib.cli.main import main
sys.exit(main(["worker", "-"]))
"""


def toy_worker(card: Card) -> list[str]:
    """The command of the real worker, in which the toy model is known."""
    return [sys.executable, "-c", _TOY_WORKER, str(ROOT), card_text(card)]


class Archive:
    """A PACS on this machine that takes what it is sent; ``status`` is what it answers."""

    def __init__(self, folder: Path, port: int) -> None:
        from pynetdicom import AE, AllStoragePresentationContexts, evt

        self._folder = folder
        self.status = 0x0000
        self.taken = threading.Event()
        entity = AE("PACS")
        entity.supported_contexts = AllStoragePresentationContexts
        self._server = entity.start_server(
            ("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, self._store)]
        )

    def stop(self) -> None:
        """Answer nobody any more."""
        self._server.shutdown()

    def _store(self, event: Any) -> int:
        if self.status == 0x0000:
            answer = event.dataset
            answer.file_meta = event.file_meta
            take_answer(self._folder, answer)
            self.taken.set()
        return self.status


# A node as `gliomaseg serve` runs it, but with the worker of the command that it is given.
_NODE = """
import json, sys, warnings
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from GliomaSegLib.cli.main import cancel_when_terminated
from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.service import Node, quiet_worker, set_up_logging
warnings.simplefilter("ignore")
set_up_logging()
cancel_when_terminated()
config = read_config(Path(sys.argv[2]))
node = Node(config, quiet_worker(json.loads(sys.argv[3]), config.folder))
with node.started():
    node.run()
"""


def node_process(config: Path, worker: list[str], log: Path) -> subprocess.Popen[bytes]:
    """A node in a process of its own, to be killed."""
    with log.open("a") as stream:
        command = [sys.executable, "-c", _NODE, str(ROOT), str(config), json.dumps(worker)]
        return subprocess.Popen(command, stderr=stream)
