"""Runs of the scene's logic in tests: workers that misbehave, and waiting for what a run has come to."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from GliomaSegLib.scene.logic import SceneLogic

LogicMaker = Callable[..., SceneLogic]

# A network that waits to be stopped, one that crashes, and one that is killed.
SLOW = "import Testing.support.toy as t, time; t.Thresholds.predict = lambda *a: time.sleep(60)"
CRASH = "import Testing.support.toy as t, os; t.Thresholds.predict = lambda *a: os.kill(os.getpid(), 11)"
KILLED = "import Testing.support.toy as t, os; t.Thresholds.predict = lambda *a: os.kill(os.getpid(), 9)"


def cases(tmp_path: Path) -> list[str]:
    """The entries of the folder of cases but for the log."""
    folder = tmp_path / "cases"
    return sorted(path.name for path in folder.iterdir() if path.name != "worker.log") if folder.is_dir() else []


def finish(run: Any, between: Callable[[], Any] = lambda: None, limit_s: float = 300) -> None:
    end = time.monotonic() + limit_s
    while not run.done:
        assert time.monotonic() < end
        run.poll()
        between()
        time.sleep(0.01)


def until(run: Any, stage: str, limit_s: float = 300) -> None:
    """Poll until the worker has come to a stage."""
    end = time.monotonic() + limit_s
    while True:
        events = run.poll()
        if any(event.kind == "stage" and event.text == stage for event in events):
            return
        assert not run.done, events
        assert time.monotonic() < end
        time.sleep(0.01)
