"""A batch on a Dask cluster: the same answers, one process per Dask worker, and only the case that ran is at stake."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("distributed", reason="Dask is not installed: pip install 'GliomaSeg[cluster]'")

from distributed import Client, LocalCluster, Nanny, Scheduler, SpecCluster

from GliomaSegLib.batch import cluster as cluster_module
from GliomaSegLib.batch.cases import BatchCase
from GliomaSegLib.batch.cluster import DaskWorkers, KeptProcess
from GliomaSegLib.batch.dispatch import CRASH, CaseEvent, dispatch
from GliomaSegLib.batch.summary import CaseState
from GliomaSegLib.batch.table import read_case_list
from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.worker.client import WorkerError
from Testing.bench.cohort import MODEL, good_row, run_cohort, write_cohort, write_table
from Testing.support import known_labels_worker

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two Dask workers in processes of their own, each under a nanny that starts it again."""
    with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


@pytest.fixture
def connect(cluster: LocalCluster) -> Iterator[Callable[..., DaskWorkers]]:
    made: list[DaskWorkers] = []

    def connect(seconds: float = 0.0, **options: Any) -> DaskWorkers:
        made.append(DaskWorkers(cluster.scheduler_address, command=known_labels_worker.command(seconds), **options))
        return made[-1]

    yield connect
    for workers in made:
        workers.close()


def events_of(table: Path, output: Path, workers: DaskWorkers) -> Iterator[CaseEvent | None]:
    return dispatch(cases_of(table, output), workers)


def cases_of(table: Path, output: Path) -> tuple[BatchCase, ...]:
    return read_case_list(table, output, model=MODEL, registration=False, brain="stripped").cases


def until_running(events: Iterator[CaseEvent | None], count: int) -> list[CaseEvent]:
    """Wait until so many cases are on; what was said of them."""
    started: list[CaseEvent] = []
    end = time.monotonic() + 120
    while len(started) < count:
        assert time.monotonic() < end, "waited in vain"
        event = next(events)
        if event is None:
            time.sleep(0.02)
        elif event.kind == "stage" and event.text == "starting":
            started.append(event)
    return started


def starts(dask_worker: Any) -> int:
    """How often the worker process of a Dask worker was started: with every start the network is read."""
    log = Path(dask_worker.local_directory) / "gliomaseg-worker.log"
    return log.read_text().count("--- worker started") if log.exists() else 0


def test_the_same_answers_from_one_process_each(
    connect: Callable[..., DaskWorkers], cluster: LocalCluster, tmp_path: Path
) -> None:
    table = write_cohort(tmp_path / "data", 8, 6)
    workers = connect()
    assert workers.count == 2
    outcome = run_cohort(table, tmp_path / "out", workers)
    assert (outcome.count(CaseState.DONE), outcome.count(CaseState.FAILED)) == (8, 6)
    run_cohort(write_cohort(tmp_path / "more", 4, 0), tmp_path / "out2", connect())
    with Client(cluster, set_as_default=False) as client:
        counts = client.run(lambda dask_worker: starts(dask_worker))
    assert set(counts.values()) == {1}, "also for the second batch"


def test_a_crash_costs_only_its_case(connect: Callable[..., DaskWorkers], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    rows = [good_row(tmp_path / "data", name) for name in ("a", "crash", "b", "c")]
    events = events_of(write_table(tmp_path / "data" / "cohort.csv", rows), tmp_path / "out", connect())
    last = {event.case.name: event for event in events if event and event.is_last}
    assert {name: event.kind for name, event in last.items()} == {
        "a": "result", "b": "result", "c": "result", "crash": "error",
    }  # fmt: skip
    assert last["crash"].error == CRASH
    assert "The worker was killed" in last["crash"].text


@pytest.mark.parametrize(
    "after_s",
    [0.0, *(pytest.param(seconds, marks=pytest.mark.slow) for seconds in (0.5, 1.0, 1.6, 2.0, 2.6))],
)
def test_a_killed_dask_worker_loses_nothing_whatever_it_does(
    connect: Callable[..., DaskWorkers], cluster: LocalCluster, tmp_path: Path, after_s: float
) -> None:
    """While the worker process starts, reads, waits, writes, and has answered and begun the next case."""
    table = write_cohort(tmp_path / "data", 4, 0)
    events = events_of(table, tmp_path / "out", connect(1.0))
    until_running(events, 2)
    time.sleep(after_s)
    with Client(cluster, set_as_default=False) as client:
        pids = client.run(os.getpid)
    os.kill(next(iter(pids.values())), signal.SIGKILL)
    last = [event for event in events if event and event.is_last]
    assert sorted((event.case.name, event.kind) for event in last) == [
        (f"good{number:04}", "result") for number in range(4)
    ]
    assert not list((tmp_path / "out").glob(".*"))


def test_a_stopped_batch_ends_what_runs(
    connect: Callable[..., DaskWorkers], cluster: LocalCluster, tmp_path: Path
) -> None:
    table = write_cohort(tmp_path / "data", 4, 0)
    events = events_of(table, tmp_path / "out", connect(300))
    until_running(events, 2)
    with pytest.raises(Cancelled):
        events.throw(Cancelled("Stop."))
    end = time.monotonic() + 120
    with Client(cluster, set_as_default=False) as client:
        while any(client.run(_running).values()):
            assert time.monotonic() < end, "a case goes on though nobody wants it"
            time.sleep(0.2)
    assert not list((tmp_path / "out").glob("*"))


def test_a_case_that_is_stopped_while_its_process_starts_does_not_run(tmp_path: Path) -> None:
    (case,) = cases_of(write_cohort(tmp_path / "data", 1, 0), tmp_path / "out")
    kept = KeptProcess(tuple(known_labels_worker.command(300)))
    kept.setup(SimpleNamespace(local_directory=tmp_path / "dask"))
    try:
        with pytest.raises(WorkerError, match="told to stop"):
            kept.segment("gliomaseg-0", case, False, lambda _: kept.transition("gliomaseg-0", "executing", "released"))
    finally:
        kept.teardown(SimpleNamespace())
    assert not list((tmp_path / "out").glob("*"))


def _running(dask_worker: Any) -> int:
    return sum(len(plugin._running) for name, plugin in dask_worker.plugins.items() if name.startswith("gliomaseg"))


def test_work_for_a_gpu_goes_where_there_is_one(tmp_path: Path) -> None:
    options = {"nthreads": 1}
    machines = {
        "plain": {"cls": Nanny, "options": options},
        "with a card": {"cls": Nanny, "options": options | {"resources": {"GPU": 1}}},
    }
    scheduler = {"cls": Scheduler, "options": {"dashboard": False}}
    with SpecCluster(scheduler=scheduler, workers=machines) as cluster:
        workers = DaskWorkers(cluster.scheduler_address, needs_gpu=True, command=known_labels_worker.command())
        assert workers.count == 1, "of two"
        table = write_cohort(tmp_path / "data", 4, 0)
        events = [event for event in events_of(table, tmp_path / "out", workers) if event]
        assert {event.worker for event in events if event.kind == "stage"} == {"with a card"}
        assert sum(event.kind == "result" for event in events) == 4
        workers.close()


def test_no_cluster_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_S", 1)
    with pytest.raises(InputError, match=r"There is no Dask scheduler at tcp://127\.0\.0\.1:9 "):
        DaskWorkers("tcp://127.0.0.1:9")
    with pytest.raises(InputError, match="does not exist"):
        DaskWorkers(str(tmp_path / "scheduler.json"))


def test_a_lost_scheduler_is_one_sentence(tmp_path: Path) -> None:
    table = write_cohort(tmp_path / "data", 2, 0)
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        workers = DaskWorkers(cluster.scheduler_address, command=known_labels_worker.command(300))
        events = events_of(table, tmp_path / "out", workers)
        until_running(events, 1)
    with pytest.raises(InputError, match="The Dask scheduler has gone or was restarted"):
        list(events)
    workers.close()
