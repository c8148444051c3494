"""A study of seven hundred images through the node: what it costs beside the segmentation itself."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pydicom
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from GliomaSegLib.node.config import read_config
from GliomaSegLib.node.queue import State
from GliomaSegLib.node.service import Node, quiet_worker
from GliomaSegLib.phantom import make_phantom
from GliomaSegLib.worker_process import Task, WorkerProcess, worker_command
from Testing.node_site import ROOT, Archive, write_config

IMAGES = 700
QUIET_S = 2.0
MODEL = "gliomaseg-any-v1"
_POLL_S = 0.02

# The scanner is another computer, or at least another process; its own start does not count. Both have one clock.
_SENDER = """
import sys, time
from pathlib import Path
sys.path[:0] = [sys.argv[1]]
from Testing.bench.node import send
began = time.monotonic()
send(Path(sys.argv[2]), int(sys.argv[3]))
print(began, time.monotonic())
"""


class TimedWorker:
    """A worker whose requests are timed from the request to the answer, with the start of the process."""

    def __init__(self, worker: WorkerProcess) -> None:
        self._worker = worker
        self.close = worker.close
        self.seconds: dict[str, float] = {}

    def start(self, request: Mapping[str, Any]) -> Task:
        """See :class:`~GliomaSegLib.node.engine.Worker`."""
        began, task = time.perf_counter(), self._worker.start(request)
        threading.Thread(target=self._time, args=(request["do"], task, began)).start()
        return task

    def _time(self, do: str, task: Task, began: float) -> None:
        while not task.done:
            time.sleep(_POLL_S)
        self.seconds[do] = time.perf_counter() - began


def node() -> None:
    """Seven hundred images by C-STORE; SEG, SR and RTSTRUCT back by C-STORE; the true model."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        paths = _study(folder)
        ports = [_free_port(), _free_port()]
        config = read_config(
            write_config(
                folder,
                rules=[{"name": "all", "job": {"model": MODEL}}],
                receive={"callers": ["SCANNER"], "host": "127.0.0.1", "port": ports[0]},
                send={"host": "127.0.0.1", "port": ports[1], "ae_title": "PACS"},
                kinds=["seg", "sr", "rtstruct"],
                quiet_s=QUIET_S,
            )
        )
        worker = TimedWorker(quiet_worker(worker_command(Path(sys.executable)), config.folder))
        archive = Archive(folder / "pacs", ports[1])
        made = Node(config, worker)
        with made.started():
            thread = threading.Thread(target=made.run)
            thread.start()
            command = [sys.executable, "-c", _SENDER, str(ROOT), str(folder / "scanner"), str(ports[0])]
            began, ended = map(float, subprocess.run(command, check=True, capture_output=True).stdout.split())
            received_s = ended - began
            while not any(one.state in (State.ANSWERED, State.FAILED) for one in made.queue.studies()):
                time.sleep(_POLL_S)
            whole_s = time.monotonic() - began
            made.end()
            thread.join()
            (study,) = made.queue.studies()
        archive.stop()
        results = next((config.folder / "studies").glob("*/results-1/manifest.json"), None)
        stages = json.loads(results.read_text())["seconds"] if results else {}
    segment_s, export_s = (worker.seconds.get(do, 0.0) for do in ("segment", "export"))
    beside_s = whole_s - segment_s - QUIET_S
    print(f"{len(paths)} images, {study.state.value} {study.sentence}")
    print(f"from the first image to the last answer {whole_s:.1f} s, of which quiet time {QUIET_S:.1f} s and")
    print(f"segmentation {segment_s:.1f} s (start of the worker included; stages {stages})")
    print(f"beside these {beside_s:.1f} s: received in {received_s:.1f} s ({1000 * received_s / len(paths):.1f} ms an")
    print(f"image), exported in {export_s:.1f} s, decided and sent in {beside_s - received_s - export_s:.1f} s")


def _study(folder: Path) -> list[Path]:
    """The phantom of 1 mm, and a diffusion series that fills it up to :data:`IMAGES`."""
    study = make_phantom().write(folder / "scanner", dicom=True)
    paths = sorted(study.rglob("*.dcm"))
    more = folder / "scanner" / "diffusion"
    more.mkdir()
    series = generate_uid()
    for number in range(IMAGES - len(paths)):
        image = pydicom.dcmread(paths[number % len(paths)])
        image.SeriesInstanceUID, image.SOPInstanceUID = series, generate_uid()
        image.SeriesDescription = image.ProtocolName = "ep2d_diff_b1000"
        image.SeriesNumber, image.InstanceNumber = 99, number + 1
        image.file_meta.MediaStorageSOPInstanceUID = image.SOPInstanceUID
        image.save_as(more / f"IM{number:04}.dcm")
    return [*paths, *sorted(more.iterdir())]


def send(folder: Path, port: int) -> None:
    """Send all images below ``folder`` in one association."""
    from pynetdicom import AE

    entity = AE("SCANNER")
    entity.add_requested_context("1.2.840.10008.5.1.4.1.1.4", ExplicitVRLittleEndian)
    association = entity.associate("127.0.0.1", port, ae_title="GLIOMASEG")
    for path in sorted(folder.rglob("*.dcm")):
        assert association.send_c_store(path).Status == 0
    association.release()


def _free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


if __name__ == "__main__":
    node()
