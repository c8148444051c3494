"""A study of seven hundred images through the node: what it costs beside the segmentation itself."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import generate_uid

from GliomaSegLib.dicom_node.config import read_config
from GliomaSegLib.dicom_node.queue import State
from GliomaSegLib.dicom_node.service import Node, quiet_worker
from GliomaSegLib.phantom import make_phantom
from GliomaSegLib.worker.client import Task, WorkerProcess, worker_command
from Testing.support.live_node import free_port
from Testing.support.node_site import write_config

IMAGES = 700
QUIET_S = 2.0
MODEL = "gliomaseg-any-v2"
_POLL_S = 0.02


class TimedWorker:
    """A worker whose requests are timed from the request to the answer, with the start of the process."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self.close = worker.close
        self.seconds: dict[str, float] = {}

    def start(self, request: Mapping[str, Any]) -> Task:
        """See :class:`~GliomaSegLib.dicom_node.engine.Worker`."""
        began, task = time.perf_counter(), self._worker.start(request)
        threading.Thread(target=self._time, args=(request["do"], task, began)).start()
        return task

    def _time(self, do: str, task: Task, began: float) -> None:
        while not task.done:
            time.sleep(_POLL_S)
        self.seconds[do] = time.perf_counter() - began


def node() -> None:
    """Seven hundred images by C-STORE, the true model, answers back by C-STORE: without overlays, then with them."""
    without_s, with_s = (_measure(kinds) for kinds in (("seg", "sr", "rtstruct"), ("seg", "sr", "rtstruct", "overlay")))
    print(f"beside the segmentation {with_s:.1f} s with overlays, which add {with_s - without_s:.1f} s")


def _measure(kinds: Sequence[str]) -> float:
    """A study through a new node; seconds beside the segmentation."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        count = _study(folder / "scanner")
        ports = [free_port(), free_port()]
        config = read_config(
            write_config(
                folder,
                rules=[{"name": "all", "job": {"model": MODEL}}],
                receive={"callers": ["SCANNER"], "host": "127.0.0.1", "port": ports[0]},
                send={"host": "127.0.0.1", "port": ports[1], "ae_title": "PACS"},
                kinds=kinds,
                quiet_s=QUIET_S,
            )
        )
        worker = TimedWorker(quiet_worker(worker_command(Path(sys.executable)), config.folder))
        made = Node(config, worker)
        with _archive(folder / "pacs", ports[1]), made.started():
            thread = threading.Thread(target=made.run)
            thread.start()
            began = time.monotonic()
            _send(folder / "scanner", ports[0])
            received_s = time.monotonic() - began
            ready_s, whole_s = _follow(made, began)
            made.end()
            thread.join()
            (study,) = made.queue.studies()
        results = next((config.folder / "studies").glob("*/results-1/manifest.json"), None)
        stages = json.loads(results.read_text())["seconds"] if results else {}
        sent = Counter(_kind(path) for path in (folder / "pacs").iterdir())
    segment_s, export_s = (worker.seconds.get(do, 0.0) for do in ("segment", "export"))
    beside_s, sent_s = whole_s - segment_s - QUIET_S, whole_s - ready_s
    print(f"{count} images, {study.state.value} {study.sentence}; back came {dict(sorted(sent.items()))}")
    print(f"from the first image to the last answer {whole_s:.1f} s, of which quiet time {QUIET_S:.1f} s and")
    print(f"segmentation {segment_s:.1f} s (start of the worker included; stages {stages})")
    print(
        f"beside these {beside_s:.1f} s: received in {received_s:.1f} s ({1000 * received_s / count:.1f} ms an image),"
    )
    print(f"exported in {export_s:.1f} s, sent in {sent_s:.1f} s, decided and waited for the next step in")
    print(f"{beside_s - received_s - export_s - sent_s:.1f} s; sender and archive were on the same computer")
    return beside_s


def _follow(made: Node, began: float) -> tuple[float, float]:
    """Seconds after ``began`` when the answer is ready to be sent, and when the study is settled."""
    sending_at = 0.0
    while True:
        states = {study.state for study in made.queue.studies()}
        now = time.monotonic() - began
        if states & {State.ANSWERED, State.FAILED}:
            return sending_at or now, now
        if State.SENDING in states:
            sending_at = sending_at or now
        time.sleep(_POLL_S)


def _study(folder: Path) -> int:
    """The phantom of 1 mm, and a diffusion series that fills it up to :data:`IMAGES`; how many images that are."""
    paths = sorted(make_phantom().write(folder, dicom=True).rglob("*.dcm"))
    more = folder / "diffusion"
    more.mkdir()
    series = generate_uid()
    for number in range(IMAGES - len(paths)):
        image = pydicom.dcmread(paths[number % len(paths)])
        image.SeriesInstanceUID, image.SOPInstanceUID = series, generate_uid()
        image.SeriesDescription = image.ProtocolName = "ep2d_diff_b1000"
        image.SeriesNumber, image.InstanceNumber = 99, number + 1
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(more / f"IM{number:04}.dcm")
    return max(IMAGES, len(paths))


# Scanner and archive are other computers, or at least other programs: those of DCMTK, not ours.


def _send(folder: Path, port: int) -> None:
    command = [_dcmtk("storescu"), "-aet", "SCANNER", "-aec", "GLIOMASEG", "+sd", "+r", "+sp", "*.dcm"]
    subprocess.run([*command, "127.0.0.1", str(port), str(folder)], check=True, capture_output=True)


@contextmanager
def _archive(folder: Path, port: int) -> Iterator[None]:
    folder.mkdir()
    process = subprocess.Popen([_dcmtk("storescp"), "--output-directory", str(folder), str(port)])
    try:
        yield
    finally:
        process.terminate()
        process.wait()


def _dcmtk(program: str) -> str:
    path = shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} of DCMTK is not installed (Debian: apt-get install dcmtk).")
    return path


def _kind(path: Path) -> str:
    header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=["SOPClassUID"])
    return header.SOPClassUID.name.removesuffix(" Storage")


if __name__ == "__main__":
    node()
