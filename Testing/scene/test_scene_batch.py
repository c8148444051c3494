"""A batch, an installation and the environment of the worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest

slicer = pytest.importorskip("slicer", reason="slicer-core is not installed")

from GliomaSegLib.case import Modality  # noqa: E402
from GliomaSegLib.errors import Cancelled, GliomaSegError  # noqa: E402
from GliomaSegLib.scene.logic import SceneLogic  # noqa: E402
from Testing.support.scene_host import SceneHost  # noqa: E402
from Testing.support.scene_runs import SLOW, LogicMaker, finish, until  # noqa: E402
from Testing.support.study import write_study  # noqa: E402


def test_batch(logic: SceneLogic, host: SceneHost, options: dict[str, Any], tmp_path: Path) -> None:
    good, bad, other = (tmp_path / name for name in ("good", "bad", "other"))
    write_study(good)
    bad.mkdir()
    write_study(other, [Modality.T2F])
    events: list[Any] = []
    items = logic.processBatch([good, bad, other], tmp_path / "out", **options, on_event=events.append).result
    assert [item.study for item in items] == ["good", "bad", "other"]
    assert [item.result is not None for item in items] == [True, False, True]
    assert "bad" in items[1].error
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["good", "other"]
    assert [event.text for event in events if "of 3" in event.text] == [
        "good (1 of 3)",
        "bad (2 of 3)",
        "other (3 of 3)",
    ]
    assert host.names() == []
    opened = logic.openResult(items[0].result["output"]).result
    assert set(opened.volumes) == {Modality.T1C, Modality.T2F}, "those that the model used"
    assert logic.lesions(opened.segmentation)[0].long_mm is not None
    logic.review(opened.segmentation, "approved", "Dr. Weiß")
    with pytest.raises(GliomaSegError, match="is no folder of results, or damaged; choose one that GliomaSeg made"):
        logic.openResult(bad)


def test_environment_of_the_worker(host: SceneHost, tmp_path: Path) -> None:
    script = tmp_path / "tell.py"
    script.write_text('import json, os; input(); print(json.dumps({"event": "result", "result": dict(os.environ)}))')
    given = {name: os.environ[name] for name in ("PATH", "SYSTEMROOT") if name in os.environ} | {"GIVEN": "yes"}
    logic = SceneLogic(host.scene, folder=tmp_path, worker_command=[sys.executable, str(script)], environment=given)
    environment = logic.install("any").result
    logic.close()
    assert environment["GIVEN"] == "yes"
    assert "PYTEST_CURRENT_TEST" not in environment


def test_batch_can_be_cancelled(make_logic: LogicMaker, options: dict[str, Any], tmp_path: Path) -> None:
    studies = [write_study(tmp_path / name) for name in ("a", "b")]
    run = make_logic(SLOW).processBatch(studies, tmp_path / "out", **options, wait=False)
    until(run, "segmentation")
    run.cancel()
    finish(run)
    with pytest.raises(Cancelled):
        run.wait()
    assert list((tmp_path / "out").iterdir()) == []


def test_installing_a_model(make_logic: LogicMaker, tmp_path: Path) -> None:
    install = (
        "import GliomaSegLib.zoo.store as s\n"
        "def install(self, card, source=None, progress=None):\n"
        "    progress.advance(0.5, 'half of it')\n"
        "    (self.root / card.id).mkdir(parents=True)\n"
        "s.Store.install = install"
    )
    logic, events = make_logic(install), []
    assert logic.install("toy", tmp_path / "store", on_event=events.append).result["model"] == "toy"
    assert (tmp_path / "store" / "toy").is_dir()
    assert any(event.text.startswith("half of it") and event.fraction == 0.5 for event in events)
    with pytest.raises(GliomaSegError, match="There is no model 'none-such'"):
        logic.install("none-such", tmp_path / "store")
