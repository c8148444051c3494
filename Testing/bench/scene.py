"""Time that 3D Slicer's own process spends around the network, on its main thread (needs slicer-core)."""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.study.selection import identify
from Testing.bench.cases import MODEL, brats2021, store


def around() -> None:
    """Scene work around the network for a 240x240x155 case with four sequences: seconds on the main thread."""
    from GliomaSegLib.scene.edits import Edits  # here: the other benchmarks run without slicer-core
    from GliomaSegLib.scene.lesions import delete_lesion
    from GliomaSegLib.scene.logic import SceneLogic
    from GliomaSegLib.scene.threshold import Rethreshold
    from Testing.support.scene_host import SceneHost

    study, host = brats2021()[0], SceneHost()
    found = {sequence: given.source.path for sequence, given in identify(study).items()}
    nodes = {s.value: host.add_volume(sitk.ReadImage(str(path)), path.name) for s, path in found.items()}
    with tempfile.TemporaryDirectory() as folder:
        logic = SceneLogic(host.scene, python=Path(sys.executable), folder=Path(folder))
        for attempt in ("first", "second"):
            run = logic.segment(**nodes, model=MODEL, store=str(store().root), brain="stripped", wait=False)
            spent, longest, stage = {}, {}, "export"
            while not run.done:
                began = time.perf_counter()
                events = run.poll()
                seconds = time.perf_counter() - began
                stage = next((event.text for event in events if event.kind == "stage"), stage)
                part = stage if stage in ("export", "scene") else "while the worker runs"
                spent[part] = spent.get(part, 0) + seconds
                longest[part] = max(longest.get(part, 0), seconds)
                time.sleep(0.1)
            for part, seconds in spent.items():
                print(f"{attempt} run, {part:<24}{seconds:6.2f} s, longest step {longest[part] * 1000:4.0f} ms")
            print(f"{attempt} run, {'together':<24}{sum(spent.values()):6.2f} s", flush=True)
        segmentation = run.result.segmentation
        edits = Edits(segmentation)
        slider = Rethreshold(edits)
        _timed("one move of the slider", lambda: slider.preview(0.4))
        slider.keep()
        _timed("list of lesions", lambda: logic.lesions(segmentation))
        _timed("deletion of a lesion", lambda: delete_lesion(edits, logic.lesions(segmentation)[0]))
        _timed("undo", edits.undo)
        logic.close()
    host.close()


def _timed(what: str, work: Callable[[], object]) -> None:
    began = time.perf_counter()
    work()
    print(f"{what:<36}{time.perf_counter() - began:6.2f} s", flush=True)
