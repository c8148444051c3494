"""Fixtures of the tests of :class:`~GliomaSegLib.scene.logic.SceneLogic`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.worker.client import WorkerProcess
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.store import Store
from Testing.support.study import volume

if TYPE_CHECKING:  # slicer-core may be missing; then the tests are skipped
    from GliomaSegLib.scene.logic import SceneLogic
    from Testing.support.scene_host import SceneHost
    from Testing.support.scene_runs import LogicMaker

KEPT = ["the worker that is kept"]
GIVEN = {"brain": "stripped", "registration": False}


@pytest.fixture(autouse=True)
def _no_traceback(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    """What fails in an observer is only printed."""
    yield
    assert "Traceback" not in capfd.readouterr().err


class KeptWorker(WorkerProcess):
    """A worker that is kept for the next test unless it is at work: starting it takes longer than most tests."""

    def close(self) -> None:
        if self._task is not None and not self._task.done:
            super().close()


@pytest.fixture(scope="session")
def kept_worker(toy_card: Card, tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeptWorker]:
    """The real worker with the toy model."""
    from Testing.support.scene_host import toy_worker

    folder = tmp_path_factory.mktemp("worker")
    worker = KeptWorker(toy_worker(toy_card, folder), folder / "worker.log")
    yield worker
    WorkerProcess.close(worker)


@pytest.fixture
def make_logic(
    host: SceneHost, toy_card: Card, kept_worker: KeptWorker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LogicMaker]:
    """Logics with the real worker and the toy model; closed at the end.

    A statement ``first`` of the worker gives the logic one of its own.
    """
    from GliomaSegLib.scene import session
    from GliomaSegLib.scene.logic import SceneLogic
    from Testing.support.scene_host import toy_worker

    made: list[SceneLogic] = []
    monkeypatch.setattr(
        session,
        "WorkerProcess",
        lambda command, *others: kept_worker if command == KEPT else WorkerProcess(command, *others),
    )

    def make(first: str = "", **options: Any) -> SceneLogic:
        command = toy_worker(toy_card, tmp_path, first) if first else KEPT
        made.append(SceneLogic(host.scene, folder=tmp_path / "cases", worker_command=command, **options))
        return made[-1]

    yield make
    for logic in made:
        logic.close()


@pytest.fixture
def logic(make_logic: LogicMaker) -> SceneLogic:
    return make_logic()


@pytest.fixture
def nodes(host: SceneHost) -> dict[str, Any]:
    """T1c and FLAIR of the tiny study as volume nodes."""
    return {s.value: host.add_volume(volume(s), f"head {s.value}") for s in (Modality.T1C, Modality.T2F)}


@pytest.fixture
def options(toy_store: Store) -> dict[str, Any]:
    return {"model": "toy", "store": str(toy_store.root), **GIVEN}


@pytest.fixture
def assert_nothing_left(host: SceneHost, nodes: dict[str, Any], tmp_path: Path) -> Callable[[], None]:
    """Says after a run that failed whether the scene is as it was before, and no folder of a case is left."""
    from Testing.support.scene_runs import cases

    before = host.names()

    def check() -> None:
        assert host.names() == before
        assert cases(tmp_path) == []

    return check
