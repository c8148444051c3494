"""Many cases: one in ten broken, a batch that is killed again and again, and how well a Dask cluster is used.

A worker that knows the labels does the cases, so that nothing but the batch is measured; a case may be made to last.
"""

from __future__ import annotations

import csv
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import SimpleITK as sitk

from GliomaSegLib.batch.dispatch import Workers
from GliomaSegLib.batch.local import local_workers
from GliomaSegLib.batch.plan import make_plan
from GliomaSegLib.batch.run import Outcome, run_batch
from GliomaSegLib.batch.summary import CaseState
from GliomaSegLib.batch.table import read_case_list
from GliomaSegLib.case import Modality
from GliomaSegLib.cli.batch_display import LineDisplay
from GliomaSegLib.io.folder import MANIFEST
from GliomaSegLib.progress import Silent
from Testing.support import known_labels_worker
from Testing.support.study import volume

ROOT = Path(__file__).parents[2]
MODEL = "gliomaseg-any-v2"
COLUMNS = ("case", "t1c", "t2f", "model", "time_point")
KILLS = 10

Row = dict[str, str]


# --- cohorts -------------------------------------------------------------------------------------------------------


def write_cohort(folder: Path, good: int, broken: int) -> Path:
    """A table of tiny cases, of which ``broken`` are broken in ten ways in turn; the path of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [good_row(folder, f"good{number:04}") for number in range(good)]
    for number in range(broken):
        way = WAYS[number % len(WAYS)]
        rows.insert(random.Random(number).randrange(1, len(rows) + 1), way(folder, f"{way.__name__}{number:04}", rows))
    return write_table(folder / "cohort.csv", rows)


def write_table(path: Path, rows: Sequence[Row]) -> Path:
    """The rows as a table."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        table = csv.DictWriter(stream, fieldnames=COLUMNS)
        table.writeheader()
        table.writerows(rows)
    return path


def good_row(folder: Path, name: str) -> Row:
    """A case with files of its own."""
    row = {"case": name, "model": "", "time_point": ""}
    for sequence in (Modality.T1C, Modality.T2F):
        row[sequence.value] = f"{name}_{sequence.value}.nii.gz"
        sitk.WriteImage(volume(sequence), str(folder / row[sequence.value]))
    return row


def cut_off(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    row = good_row(folder, name)
    file = folder / row["t2f"]
    file.write_bytes(file.read_bytes()[:30])
    return row


def no_image_at_all(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    row = good_row(folder, name)
    (folder / row["t1c"]).write_text("this is no image")
    return row


def gone(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    row = good_row(folder, name)
    (folder / row["t1c"]).unlink()
    return row


def no_reference(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return {"case": name, "t1c": "", "t2f": "", "model": "", "time_point": ""}


def repeated(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return rows[0]


def never(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return good_row(folder, name) | {"time_point": "someday"}


def unknown_model(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return good_row(folder, name) | {"model": "no-such-model"}


def one_for_two(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    row = good_row(folder, name)
    return row | {"t2f": row["t1c"]}


def nameless(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return good_row(folder, name) | {"case": ""}


def crash(folder: Path, name: str, rows: Sequence[Row]) -> Row:
    return good_row(folder, name)


WAYS: tuple[Callable[[Path, str, Sequence[Row]], Row], ...] = (
    cut_off, no_image_at_all, gone, no_reference, repeated, never, unknown_model, one_for_two, nameless, crash,
)  # fmt: skip


class Quiet(LineDisplay):
    """Shows nothing."""

    def on_event(self, event: object) -> None:
        """See :class:`~GliomaSegLib.cli.batch_display.Display`."""


def run_cohort(table: Path, output: Path, workers: Workers) -> Outcome:
    """The whole batch."""
    cohort = read_case_list(table, output, model=MODEL, registration=False, brain="stripped")
    plan = make_plan(cohort, workers.count, False, Silent())
    return run_batch(plan, cohort.cases, output, workers, Quiet(0, 1))


# --- what is measured ----------------------------------------------------------------------------------------------


def broken() -> None:
    """1,000 tiny cases, 100 of them broken in ten ways: results, sentences, seconds (2 workers)."""
    with tempfile.TemporaryDirectory() as folder:
        table, output = write_cohort(Path(folder) / "data", 900, 100), Path(folder) / "out"
        began = time.perf_counter()
        workers = local_workers(known_labels_worker.command(), 2, output / "logs")
        outcome = run_cohort(table, output, workers)
        workers.close()
        seconds = time.perf_counter() - began
        results = len(list(output.glob(f"*/{MANIFEST}")))
        sentences = {line.case.where: line.sentence for line in outcome.cases if line.sentence}
        print(
            f"{len(outcome.cases)} cases: {outcome.count(CaseState.DONE)} done ({results} folders of results), ", end=""
        )
        print(f"{outcome.count(CaseState.FAILED)} failed with {len(sentences)} sentences, {seconds:.0f} s", flush=True)
        began = time.perf_counter()
        again = run_cohort_again(table, output)
        print(
            f"again, with nothing but the crashes and cut-off files to repeat: {again.count(CaseState.DONE)} done, ",
            end="",
        )
        print(f"{time.perf_counter() - began:.0f} s; page {outcome.page.stat().st_size / 1e6:.1f} MB", flush=True)


def run_cohort_again(table: Path, output: Path) -> Outcome:
    """With new workers."""
    workers = local_workers(known_labels_worker.command(), 2, output / "logs")
    try:
        return run_cohort(table, output, workers)
    finally:
        workers.close()


def kills() -> None:
    """A batch of 60 tiny cases that is killed ten times at random moments: what is lost, what is done twice."""
    with tempfile.TemporaryDirectory() as folder:
        killed, made, outcome = run_and_kill(Path(folder), 60, KILLS, seconds=0.3, seed=int(time.time()))
        changed = sum(when != made_at(path) for path, when in made.items())
        print(
            f"killed {killed} times, {len(made)} cases were done at the kills, {changed} of them done twice; ", end=""
        )
        print(f"in the end {outcome.count(CaseState.DONE)} of {len(outcome.cases)} done", flush=True)


def run_and_kill(
    folder: Path, cases: int, times: int, seconds: float, seed: int
) -> tuple[int, dict[Path, int], Outcome]:
    """Kill a batch at random moments, then let it end.

    Returns:
        how often it was killed, when the manifests that were there at each kill had been written, and how it ended.
    """
    table, output = write_cohort(folder / "data", cases, 0), folder / "out"
    moments, made, killed = random.Random(seed), {}, 0
    command = [sys.executable, "-m", "Testing.bench.cohort", str(table), str(output), str(seconds)]
    for number in range(times):
        batch = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if number % 2 == 0:  # the other half of the kills comes while it starts
            _wait_for_more(output, len(made), batch)
        time.sleep(moments.uniform(0, 2))
        if batch.poll() is None:
            os.kill(batch.pid, signal.SIGKILL)
            killed += 1
        batch.wait()
        for path in output.glob(f"*/{MANIFEST}"):
            made.setdefault(path, made_at(path))
    return killed, made, run_cohort_again(table, output)


def _wait_for_more(output: Path, count: int, batch: subprocess.Popen) -> None:
    while batch.poll() is None and len(list(output.glob(f"*/{MANIFEST}"))) <= count:
        time.sleep(0.05)


def made_at(manifest: Path) -> int:
    """When it was written, in ns."""
    return manifest.stat().st_mtime_ns


def dask() -> None:
    """Four Dask workers on cases of 10 s that need no processor, against one worker alone: share of the ideal."""
    from distributed import LocalCluster

    from GliomaSegLib.batch.cluster import DaskWorkers

    each, count, seconds = 3, 4, 10.0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alone = local_workers(known_labels_worker.command(seconds), 1, folder)
        alone_s = _seconds(write_cohort(folder / "few", each, 0), folder / "alone", alone)
        with LocalCluster(n_workers=count, threads_per_worker=1, dashboard_address=None) as cluster:
            workers = DaskWorkers(cluster.scheduler_address, command=known_labels_worker.command(seconds))
            cluster_s = _seconds(write_cohort(folder / "many", each * count, 0), folder / "cluster", workers)
        print(
            f"{each} cases by one worker {alone_s:.1f} s, {each * count} by {count} Dask workers {cluster_s:.1f} s: ",
            end="",
        )
        print(f"{alone_s / cluster_s:.3f} of the ideal", flush=True)


def _seconds(table: Path, output: Path, workers: Workers) -> float:
    began = time.perf_counter()
    outcome = run_cohort(table, output, workers)
    seconds = time.perf_counter() - began
    workers.close()
    if outcome.count(CaseState.DONE) != len(outcome.cases):
        raise RuntimeError(f"not all cases were done: {[line.sentence for line in outcome.cases]}")
    return seconds


if __name__ == "__main__":  # a batch for others to kill
    _workers = local_workers(known_labels_worker.command(float(sys.argv[3])), 2, Path(sys.argv[2]) / "logs")
    run_cohort(Path(sys.argv[1]), Path(sys.argv[2]), _workers)
    _workers.close()
