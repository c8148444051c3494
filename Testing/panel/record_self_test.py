"""Records what the worker answers to the requests of the module's self-test.

``python -m Testing.panel.record_self_test`` makes ``GliomaSeg/Resources/SelfTest/recording.zip`` anew, with the real
worker and the model that ships; needs slicer-core. The self-test replays it in an application that lacks the worker's
packages (:mod:`GliomaSegPanel.recorded_worker`). The requests are those of ``GliomaSegTest``.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import slicer

from GliomaSegLib.scene import session
from GliomaSegLib.scene.logic import SceneLogic
from GliomaSegLib.worker.client import Event, Task, WorkerProcess
from Testing.support.scene_host import ROOT, SceneHost

sys.path.append(str(ROOT / "GliomaSeg"))

from GliomaSegPanel.recorded_worker import CONVERSATION, OUTPUT, RECORDING, key_of
from GliomaSegPanel.self_test_head import drawn_like, load_head, remove_upper_half

MODEL = "gliomaseg-any-v2"
REVIEWER = "Dr. Test"
TEXT = (".json", ".html", ".csv")
PICTURE = re.compile(rb"data:image/[^\"')]+")  # most of a report's bytes; the self-test does not look at it
LEFT_OUT = (".h5",)  # deformations, which the panel does not show


class Recorder:
    """Keeps the events, the answer and the files of each request of a scene's logic."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.files: dict[str, bytes] = {}
        self._events: list[Event] = []
        self._asked: list[tuple[Mapping[str, Any], Task]] = []
        self._last: dict[Path, bytes] = {}
        recorder = self

        class Recording(WorkerProcess):
            def start(self, request: Mapping[str, Any]) -> Task:
                task = super().start(request)
                recorder._asked.append((request, task))
                return task

        session.WorkerProcess = Recording

    def on_event(self, event: Event) -> None:
        """To be called with every event."""
        self._events.append(event)

    def keep(self, cases: Path) -> None:
        """To be called after each run, whose last request was what it was for. Files that an earlier answer has left
        in the same folder are kept once."""
        request, task = self._asked[-1]
        output, key = Path(request["output"]), key_of(request)
        events = [line for line in map(_line, self._events) if line]
        self._events.clear()

        def neutral(text: str) -> str:
            return text.replace(str(output), OUTPUT).replace(str(cases), "CASES")

        answer = json.loads(neutral(json.dumps(task.result)))
        self.answers[key] = {"events": events, "result": answer, "folder": key}
        for path in sorted(one for one in output.rglob("*") if one.is_file() and one.suffix not in LEFT_OUT):
            content = path.read_bytes()
            if path.suffix in TEXT:
                content = PICTURE.sub(b"data:,", neutral(content.decode()).encode())
            if self._last.get(path) != content:
                self.files[f"{key}/{path.relative_to(output).as_posix()}"] = self._last[path] = content

    def write(self, path: Path) -> None:
        """The recording as one archive, the same for the same content."""
        path.parent.mkdir(parents=True, exist_ok=True)
        content = {CONVERSATION: json.dumps(self.answers, indent=1).encode(), **self.files}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
            for name, data in content.items():
                archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)


def _line(event: Event) -> dict[str, Any] | None:
    """An event as the worker writes it; those of the scene itself are not the worker's."""
    if event.kind == "stage" and event.text not in ("export", "scene"):
        return {"event": "stage", "name": event.text}
    if event.kind == "progress":
        return {"event": "progress", "fraction": event.fraction, "detail": event.text}
    return {"event": "warning", "text": event.text} if event.kind == "warning" else None


def main() -> None:
    """Make every request of the self-test once."""
    host, recorder = SceneHost(), Recorder()
    slicer.mrmlScene = host.scene
    head = load_head()
    with tempfile.TemporaryDirectory() as folder:
        cases = Path(folder)
        logic = SceneLogic(host.scene, python=Path(sys.executable), folder=cases)
        given = {"model": MODEL, "brain": "stripped", "on_event": recorder.on_event}
        node = logic.segment(t1c=head["t1c"], t2f=head["t2f"], **given).result.segmentation
        recorder.keep(cases)
        before, between = drawn_like(node, head["t1c"]), drawn_like(node, head["t1c"])
        when = {"earlier_time_point": "preoperative", "time_point": "postoperative", "days_since_surgery": 2}
        studies = {"between": between, "between_volume": head["t1c"],
                   "between_time_point": "postoperative", "baseline": between, "deformable": True}  # fmt: skip
        logic.compareStudies(node, before, head["t1c"], on_event=recorder.on_event, **when, **studies)
        recorder.keep(cases)
        remove_upper_half(node)
        logic.measure(node, on_event=recorder.on_event)
        recorder.keep(cases)
        logic.review(node, "approved", REVIEWER, on_event=recorder.on_event)
        recorder.keep(cases)
        logic.compareStudies(node, before, head["t1c"], on_event=recorder.on_event, **when)
        recorder.keep(cases)
        logic.close()
    recorder.write(RECORDING)
    host.close()
    print(f"{RECORDING}: {RECORDING.stat().st_size / 1000:.0f} kB, {', '.join(recorder.answers)}")


if __name__ == "__main__":
    main()
