"""Batches: every case is answered, nothing is lost or done twice, whatever dies, and one page tells of all."""

from __future__ import annotations

import csv
import json
import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from GliomaSegLib.batch import cases as cases_module
from GliomaSegLib.batch import plan as plan_module
from GliomaSegLib.batch import summary as summary_module
from GliomaSegLib.batch.cases import (
    DEFAULTS,
    PRIVATE,
    BatchCase,
    case_of_study,
    folder_name,
    is_done,
    one_of_each,
)
from GliomaSegLib.batch.dispatch import CaseEvent, dispatch
from GliomaSegLib.batch.failure_log import FailureLog, read_failures
from GliomaSegLib.batch.local import LocalWorkers, local_workers, threads_of_each
from GliomaSegLib.batch.overview_page import render_page
from GliomaSegLib.batch.plan import make_plan
from GliomaSegLib.batch.run import Outcome, run_batch
from GliomaSegLib.batch.shard import Shard, locked
from GliomaSegLib.batch.summary import CaseState, CaseSummary, Summary, write_summary
from GliomaSegLib.batch.table import CaseList, read_case_list
from GliomaSegLib.case import Modality
from GliomaSegLib.cli.batch_display import BarDisplay, LineDisplay
from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import Cancelled, InputError
from GliomaSegLib.io.folder import MANIFEST, own_manifest
from GliomaSegLib.io.provenance import sha256_of, state_of
from GliomaSegLib.job import Job
from GliomaSegLib.measures.unusual_volumes import deviation, unusual
from GliomaSegLib.progress import Silent
from GliomaSegLib.results.thumbnail import draw
from GliomaSegLib.worker.client import Event
from Testing.bench.cohort import MODEL, good_row, made_at, run_and_kill, write_cohort, write_table
from Testing.support import known_labels_worker
from Testing.support.study import on_grid, write_study

FAST: dict[str, Any] = {"model": MODEL, "registration": False, "brain": "stripped"}


@pytest.fixture
def workers(tmp_path: Path) -> Iterator[LocalWorkers]:
    """Two workers that know the labels, each of which crashes at a case that is called so."""
    workers = local_workers(known_labels_worker.command(), 2, tmp_path / "logs")
    yield workers
    workers.close()


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """Three good cases."""
    return write_cohort(tmp_path / "data", 3, 0)


def run_on(
    table: Path, output: Path, workers: LocalWorkers, shard: Shard | None = None, overwrite: bool = False, **more: Any
) -> Outcome:
    cohort = read_case_list(table, output, **(FAST | more))
    shard = shard or Shard()
    mine = CaseList(cohort.source, shard.of(cohort.cases))
    plan = make_plan(mine, 2, overwrite, Silent())
    return run_batch(plan, cohort.cases, output, workers, LineDisplay(len(mine.cases), 2), shard, overwrite)


def manifests(output: Path) -> dict[str, int]:
    """When each case's results were written."""
    return {path.parent.name: made_at(path) for path in output.glob(f"*/{MANIFEST}")}


# --- what comes of a batch -----------------------------------------------------------------------------------------


def test_broken_cases_cost_nobody_else(workers: LocalWorkers, tmp_path: Path) -> None:
    table, output = write_cohort(tmp_path / "data", 20, 10), tmp_path / "out"
    outcome = run_on(table, output, workers)
    assert (outcome.count(CaseState.DONE), outcome.count(CaseState.FAILED)) == (20, 10)
    assert set(manifests(output)) == {f"good{number:04}" for number in range(20)}
    sentences = {line.case.name: line.sentence for line in outcome.cases if line.state is CaseState.FAILED}
    for says in (
        "line [0-9]+: .*gone.* does not exist",
        "line [0-9]+: .* has no image",
        "line [0-9]+ repeats the case 'good",
        "line [0-9]+: .*time_point",
        "no case that can name a folder",
        "There is no model 'no-such-model'",
        "is given both as T1 \\+ contrast and as FLAIR",
        "no_image_at_all.* cannot be read as an image",
        "cut_off.* cannot be read as an image",
        "The worker was killed",
    ):
        assert sum(bool(re.search(says, sentence)) for sentence in sentences.values()) == 1, says
    assert not list(output.glob(".*.partial"))

    rows = list(csv.DictReader((output / "summary.csv").open(encoding="utf-8")))
    assert len(rows) == 30
    assert sum(row["state"] == "done" and float(row["WT_ml"]) > 0 for row in rows) == 20
    page = outcome.page.read_text(encoding="utf-8")
    assert "Not a medical device" in page
    pictures = re.findall(r'<img src="([^"]+)"', page)
    assert len(pictures) == 20
    assert all((output / picture).is_file() for picture in pictures)
    assert all(f'href="{name}/report.html"' in page for name in manifests(output))
    assert "has no image" in page


def test_what_is_done_is_not_done_again(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_on(table, output, workers)
    before = manifests(output)
    rows = [good_row(table.parent, f"good{number:04}") for number in range(3)]
    write_table(table, [*rows, good_row(table.parent, "new")])
    outcome = run_on(table, output, workers)
    after = manifests(output)
    assert outcome.count(CaseState.DONE) == 4
    assert {name: after[name] for name in before} == before


def test_another_job_is_not_taken_for_the_same(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_on(table, output, workers)
    before = manifests(output)
    with pytest.raises(InputError, match=r"the results of another job \(seed differ\); say '--overwrite'"):
        run_on(table, output, workers, seed=2)
    assert run_on(table, output, workers, device="cuda", threads=3).count(CaseState.DONE) == 3, "where, not what"
    assert manifests(output) == before
    reviewed = output / "good0001" / MANIFEST
    reviewed.write_text(json.dumps(json.loads(reviewed.read_text()) | {"review": "approved"}), encoding="utf-8")
    outcome = run_on(table, output, workers, overwrite=True, seed=2)
    assert {line.case.name: line.state for line in outcome.cases} == {
        "good0000": CaseState.DONE, "good0001": CaseState.FAILED, "good0002": CaseState.DONE,
    }  # fmt: skip
    assert own_manifest(output / "good0000")["job"]["seed"] == 2
    assert own_manifest(output / "good0001")["job"]["seed"] == 1, "what a reader has approved stays"


def test_results_of_other_images_or_weights_are_not_taken_for_new(
    workers: LocalWorkers, table: Path, tmp_path: Path
) -> None:
    output, image = tmp_path / "out", table.parent / "good0001_t1c.nii.gz"
    run_on(table, output, workers)
    later = time.time() + 60
    for path in table.parent.iterdir():
        os.utime(path, (later, later))
    assert run_on(table, output, workers).count(CaseState.DONE) == 3, "copied anew, they are the same images"
    changed = sitk.ReadImage(str(image))
    sitk.WriteImage(changed + 1, str(image))
    os.utime(image, (later, later))
    other = output / "good0002" / MANIFEST
    content = json.loads(other.read_text())
    other.write_text(json.dumps(content | {"model": content["model"] | {"weights_sha256": "0" * 64}}))
    outcome = run_on(table, output, workers)
    refused = {line.case.name: line.sentence for line in outcome.cases if line.sentence}
    assert "T1 + contrast image differ" in refused["good0001"]
    assert "weights differ" in refused["good0002"]
    assert run_on(table, output, workers, overwrite=True).count(CaseState.DONE) == 3


def test_what_is_in_the_way_stays(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    (output / "good0000").mkdir(parents=True)
    (output / "good0000" / "notes.txt").write_text("mine")
    (output / "good0001").mkdir()
    outcome = run_on(table, output, workers, overwrite=True)
    assert outcome.count(CaseState.DONE) == 2, "an empty folder is in nobody's way"
    assert (output / "good0000" / "notes.txt").read_text() == "mine"
    (sentence,) = [line.sentence for line in outcome.cases if line.sentence]
    assert "is in the way and no folder of GliomaSeg results" in sentence


def test_a_case_that_failed_is_tried_again(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output, image = tmp_path / "out", table.parent / "good0001_t1c.nii.gz"
    good = image.read_bytes()
    image.write_text("nothing")
    assert run_on(table, output, workers).count(CaseState.FAILED) == 1
    image.write_bytes(good)
    outcome = run_on(table, output, workers)
    assert (outcome.count(CaseState.DONE), outcome.count(CaseState.FAILED)) == (3, 0)


def test_parts_do_everything_once(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    first = run_on(table, output, workers, Shard(1, 2))
    assert (first.count(CaseState.DONE), first.count(CaseState.WAITING)) == (2, 1)
    before = manifests(output)
    second = run_on(table, output, workers, Shard(2, 2))
    assert second.count(CaseState.DONE) == 3, "the page is that of the whole cohort"
    assert {name: manifests(output)[name] for name in before} == before


# --- being stopped and killed --------------------------------------------------------------------------------------


def test_kills_at_random_moments_lose_nothing(tmp_path: Path) -> None:
    killed, made, outcome = run_and_kill(tmp_path, cases=12, times=3, seconds=0.5, seed=11)
    assert killed
    assert made
    assert outcome.count(CaseState.DONE) == 12
    assert all(made_at(path) == when for path, when in made.items()), "what was done is not done again"
    assert not [path for path in (tmp_path / "out").iterdir() if path.suffix in (".partial", ".old")]


def test_stopping_leaves_nothing_half_made(table: Path, tmp_path: Path) -> None:
    workers = local_workers(known_labels_worker.command(30), 2, tmp_path / "logs")
    events = dispatch(read_case_list(table, tmp_path / "out", **FAST).cases, workers)
    started = 0
    while started < 2:
        event = next(events)
        started += event is not None and event.kind == "stage"
    events.throw(Cancelled("Stop."))
    with pytest.raises(Cancelled):
        list(events)
    workers.close()
    assert not list((tmp_path / "out").glob("*"))


def test_a_stopped_batch_keeps_its_page(table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(LineDisplay):
        def on_event(self, event: CaseEvent) -> None:
            if event.is_last:
                raise KeyboardInterrupt

    workers = local_workers(known_labels_worker.command(), 1, tmp_path / "logs")
    cohort = read_case_list(table, tmp_path / "out", **FAST)
    with pytest.raises(KeyboardInterrupt):
        run_batch(make_plan(cohort, 1, False, Silent()), cohort.cases, tmp_path / "out", workers, Stop(3, 1))
    workers.close()
    states = [row["state"] for row in csv.DictReader((tmp_path / "out" / "summary.csv").open(encoding="utf-8"))]
    assert sorted(states) == ["done", "waiting", "waiting"]


def test_what_another_process_has_done_meanwhile_counts(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    """A worker may survive its batch and end its case."""
    cohort = read_case_list(table, tmp_path / "out", **FAST)
    events = [event for event in dispatch(cohort.cases, workers) if event]
    assert [event.kind for event in events if event.is_last] == ["result"] * 3
    late = [event for event in workers.segment(cohort.cases) if event]
    assert [(event.kind, event.result["case_id"]) for event in late] == [("result", case.name) for case in cohort.cases]


def test_two_batches_do_not_do_the_same_cases(tmp_path: Path) -> None:
    with locked(tmp_path, Shard(1, 2)):
        with locked(tmp_path, Shard(2, 2)):
            pass
        for other in (Shard(1, 2), Shard(), Shard(1, 3)):
            with pytest.raises(InputError, match="Another batch is at work"), locked(tmp_path, other):
                pass
    with locked(tmp_path, Shard()):
        pass


def test_failures_survive_a_line_that_was_cut_off(tmp_path: Path) -> None:
    cases = [BatchCase(name, {"output": str(tmp_path / name), "study": name}, name) for name in "ab"]
    FailureLog(tmp_path, Shard()).add(cases[0], "InputError", "First.")
    path = next((tmp_path / PRIVATE).glob("*.jsonl"))
    path.write_bytes(path.read_bytes() + b'{"case": "b", "ke')
    FailureLog(tmp_path, Shard()).add(cases[1], "InputError", "Second.")
    FailureLog(tmp_path, Shard(1, 2)).add(cases[0], "InputError", "Third.")
    found = read_failures(tmp_path)
    assert {found[case.key].sentence for case in cases} == {"Third.", "Second."}


# --- the summary and the page --------------------------------------------------------------------------------------


def line(name: str, wt_ml: float, **more: Any) -> CaseSummary:
    case = BatchCase(name, {"output": f"/nowhere/{name}"}, name)
    return CaseSummary(case, CaseState.DONE, "any", volumes={"WT": wt_ml, "brain": 1400.0}, **more)


def test_outliers_are_reported_and_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = [line(f"usual{number:02}", 30 + number) for number in range(12)]
    wrong = line("nonsense", 35, implausible=("Implausible: 90 % on the border.",))
    lines = [*usual, wrong, line("huge", 900), line("none", 0.0), line("warned", 35, warnings=("Mind the gap.",))]
    failed = BatchCase("failed", {"output": "/nowhere/failed"}, "row", refused="It cannot be.")
    waiting = BatchCase("awaited", {"output": "/nowhere/awaited"}, "row")
    summary = Summary([failed, waiting])
    monkeypatch.setattr(
        summary_module, "_with_remarks", lambda found, plain=summary_module._with_remarks: plain([*lines, *found])
    )
    ordered = summary.cases({})
    assert [one.case.name for one in ordered[:2]] == ["nonsense", "failed"]
    assert {one.case.name for one in ordered[2:4]} == {"none", "huge"}
    assert ordered[4].case.name == "warned"
    assert ordered[-1].case.name == "awaited"
    remarks = {one.case.name: " ".join(one.remarks) for one in ordered}
    assert "WT 900 mL, where the median of 16 cases is" in remarks["huge"]
    assert "no tumour was marked" in remarks["none"]
    assert not any(remarks[one.case.name] for one in usual)


@pytest.mark.parametrize(
    ("volumes", "remark"),
    [
        ({"ET": 1.2, "brain": 1400.0}, ()),  # of metastases, or after surgery: the rest of the tumour is not looked for
        ({"TC": 12.0, "brain": 1400.0}, ()),
        ({"RC": 9.0}, ()),
        ({"ET": 0.0, "brain": 1400.0}, ("no tumour was marked",)),
        ({"WT": 0.0, "TC": 0.0, "ET": 0.0, "RC": 9.0}, ("no tumour was marked",)),
        ({"RC": 0.0}, ("no cavity was marked",)),
    ],
)
def test_no_tumour_is_said_of_what_the_model_looks_for(volumes: dict[str, float], remark: tuple[str, ...]) -> None:
    assert unusual(volumes, {}) == (remark, 0.0)


def test_strangeness_is_the_modified_z_score_of_the_diameter() -> None:
    usual = [float(edge**3) for edge in (1, 2, 3, 4, 5, 6, 7, 8, 9)]
    assert deviation(9.0**3, usual) == 0, "nine cases are too few to know what is usual"
    usual.append(5.0**3)
    assert deviation(9.0**3, usual) == pytest.approx(0.6745 * (9 - 5) / 2)
    assert deviation(1.0, usual) == pytest.approx(-0.6745 * (5 - 1) / 2)
    assert deviation(None, usual) == 0
    assert deviation(1.0, [8.0] * 20) == 0, "no spread, no measure"


def test_everything_on_the_page_is_escaped(tmp_path: Path) -> None:
    lines = [line("<b>case</b>", 3.0, warnings=("<script>",)), line("other", 0.0, remarks=("<i>",))]
    page = render_page(tmp_path, lines, Path("<cohort>.csv"))
    assert "&lt;b&gt;case&lt;/b&gt;" in page
    assert "&lt;cohort&gt;" in page
    assert "<b>case" not in page
    assert "<i>" not in page
    assert page.count("<script>") == 1


def test_the_table_is_replaced_in_one_step(tmp_path: Path) -> None:
    stop, seen = threading.Event(), set()

    def look() -> None:
        while not stop.is_set():
            if (tmp_path / "t.csv").exists():
                seen.add(len((tmp_path / "t.csv").read_text().splitlines()))

    write_summary([line("a", 1.0)] * 200, tmp_path / "t.csv")
    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(20):
        write_summary([line("a", 1.0)] * 200, tmp_path / "t.csv")
    stop.set()
    reader.join()
    assert seen == {201}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["t-columns.json", "t.csv"]


def test_a_damaged_result_is_reported_and_stops_nobody(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_on(table, output, workers)
    (output / "good0001" / "measures.json").write_text("{")
    cohort = read_case_list(table, output, **FAST)
    events = [event for event in dispatch(cohort.cases, workers) if event]
    assert [(event.kind, "are damaged" in event.text) for event in events] == [
        ("result", False), ("error", True), ("result", False),
    ]  # fmt: skip
    outcome = run_on(table, output, workers)
    sentences = {one.case.name: one.sentence for one in outcome.cases}
    assert "are damaged" in sentences["good0001"]
    assert outcome.count(CaseState.DONE) == 2


def test_an_edit_that_was_not_measured_is_said(workers: LocalWorkers, table: Path, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run_on(table, output, workers)
    made = output / "good0001" / MANIFEST
    known = sha256_of(made.with_name("segmentation.nii.gz"))
    made.write_text(json.dumps(json.loads(made.read_text()) | {"sha256": {"segmentation.nii.gz": known}}))
    assert not any(line.warnings for line in run_on(table, output, workers).cases)
    with made.with_name("segmentation.nii.gz").open("ab") as stream:
        stream.write(b"edited")
    warned = {line.case.name: line.warnings for line in run_on(table, output, workers).cases if line.warnings}
    assert list(warned) == ["good0001"]
    assert "segmentation.nii.gz was saved since it was measured; run 'gliomaseg measure" in warned["good0001"][0]


@pytest.mark.parametrize("manifest", ["[]", "{", "null", '{"job": 7}', '"text"', "[" * 100_000])
def test_a_manifest_that_is_none_stops_nobody(
    workers: LocalWorkers, table: Path, tmp_path: Path, manifest: str
) -> None:
    output = tmp_path / "out"
    run_on(table, output, workers)
    (output / "good0001" / MANIFEST).write_text(manifest)
    outcome = run_on(table, output, workers)
    assert outcome.count(CaseState.DONE) == 2
    (sentence,) = [one.sentence for one in outcome.cases if one.sentence]
    assert "are damaged" in sentence or "is in the way" in sentence


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need a privilege on Windows")
@pytest.mark.parametrize("target", ["nowhere", "elsewhere", "results"])
def test_a_link_in_the_place_of_a_result_is_never_written_through(
    workers: LocalWorkers, table: Path, tmp_path: Path, target: str
) -> None:
    output, other = tmp_path / "out", tmp_path / target
    output.mkdir()
    if target != "nowhere":
        other.mkdir()
        (other / "kept.txt").write_text("mine")
    if target == "results":
        (other / MANIFEST).write_text(json.dumps({"program": "GliomaSeg", "job": {"seed": 9}}))
    (output / "good0001").symlink_to(other)
    outcome = run_on(table, output, workers, overwrite=True)
    assert {"good0000", "good0002"} <= {one.case.name for one in outcome.cases if one.state is CaseState.DONE}
    assert sorted(path.name for path in tmp_path.iterdir() if path.name == target) == [target] * (target != "nowhere")
    if target != "nowhere":
        assert (other / "kept.txt").read_text() == "mine"
        assert not (other / "segmentation.nii.gz").exists()
    assert not [path.name for path in output.iterdir() if path.suffix in (".partial", ".old")]


@pytest.mark.parametrize("error", [NotImplementedError, AttributeError, RecursionError, MemoryError, IndexError])
def test_a_study_over_which_the_plan_fails_costs_nobody_else(
    workers: LocalWorkers, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: type
) -> None:
    plain = plan_module.identify

    def fails(study: Path | None, volumes: dict[Modality, Path], *rest: Any) -> Any:
        if any("good0001" in str(path) for path in volumes.values()):
            raise error("a header")
        return plain(study, volumes, *rest)

    monkeypatch.setattr(plan_module, "identify", fails)
    outcome = run_on(table, tmp_path / "out", workers)
    assert (outcome.count(CaseState.DONE), outcome.count(CaseState.FAILED)) == (2, 1)
    (sentence,) = [one.sentence for one in outcome.cases if one.sentence]
    assert f"its images cannot be read ({error.__name__}: a header)" in sentence


@pytest.mark.parametrize("name", ["=1+1", "+1+1", "-1-1", "@SUM(A1)", "\t=1"])
def test_no_cell_of_the_table_is_a_formula(tmp_path: Path, name: str) -> None:
    case = BatchCase(name, {"output": "/nowhere/a"}, name, patient=name)
    row = CaseSummary(case, CaseState.FAILED, name, volumes={"WT": -1.5}, sentence=name)
    write_summary([row], tmp_path / "t.csv")
    (cells,) = csv.DictReader((tmp_path / "t.csv").open(newline="", encoding="utf-8"))
    assert {cells[column] for column in ("case", "patient", "model", "error", "source")} == {f"'{name}"}
    assert cells["WT_ml"] == "-1.5", "a number stays one"


@pytest.mark.parametrize("flip", [False, True])
def test_the_patients_left_is_on_the_right_of_the_picture(flip: bool, workers: LocalWorkers, tmp_path: Path) -> None:
    study = write_study(tmp_path / "studies" / "a")
    for path in study.iterdir():
        image = sitk.ReadImage(str(path))
        sitk.WriteImage(sitk.DICOMOrient(image, "RAI" if flip else "LPS"), str(path))
    case = case_of_study(study, tmp_path / "out", FAST)
    assert [event.kind for event in dispatch([case], workers) if event and event.is_last] == ["result"]
    labels = on_grid(np.zeros((20, 36, 32), np.uint8))
    labels[22:28, 10:14, 8:12] = 3  # x grows to the patient's left, y to the back
    written = sitk.ReadImage(str(case.output / "segmentation.nii.gz"))
    sitk.WriteImage(
        sitk.Resample(labels, written, sitk.Transform(), sitk.sitkNearestNeighbor),
        str(case.output / "segmentation.nii.gz"),
    )
    picture = np.asarray(draw(case.output, own_manifest(case.output))).astype(int)
    coloured = np.argwhere(np.ptp(picture, axis=2) > 40)
    rows, columns = coloured.mean(axis=0) / picture.shape[:2]
    assert columns > 0.6
    assert rows < 0.5
    (study / "head_t1c.nii.gz").unlink()
    without = draw(case.output, own_manifest(case.output))
    assert isinstance(without, Image.Image), "the brain is drawn where the image is gone"


# --- small parts ---------------------------------------------------------------------------------------------------


def test_a_study_for_an_application_that_has_no_pydantic(tmp_path: Path) -> None:
    """What the light modules need is in every application's Python."""
    code = (
        "import sys\n"
        "class Blocked:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] not in {'GliomaSegLib', *sys.stdlib_module_names}:\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Blocked())\n"
        "import GliomaSegLib.batch.local, GliomaSegLib.batch.dispatch, GliomaSegLib.batch.cases\n"
    )
    import subprocess

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr
    cases = one_of_each([case_of_study(tmp_path / place / "x", tmp_path / "out", FAST) for place in ("1", "2")])
    assert all("2 different cases" in case.refused for case in cases)
    assert [folder_name(name) for name in ("a/b c", "..", "Müller")] == ["a_b_c", "", "Müller"]


def test_names_of_folders_are_legal_on_windows_too_and_never_too_long() -> None:
    assert [folder_name(name) for name in ("NUL", "aux.study", "com1", "company")] == [
        *("NUL_", "aux_.study", "com1_", "company")
    ]
    long = [folder_name("study " * 60 + end) for end in ("one", "two")]
    assert [len(name) for name in long] == [128, 128]
    assert long[0] != long[1]
    assert folder_name("n" * 128) == "n" * 128


def test_a_job_that_says_less_is_done_when_what_it_says_is(workers: LocalWorkers, tmp_path: Path) -> None:
    case = case_of_study(write_study(tmp_path / "a"), tmp_path / "out", FAST)
    assert not is_done(case)
    assert [event.kind for event in dispatch([case], workers) if event and event.is_last] == ["result"]
    assert is_done(case)
    assert not is_done(case_of_study(tmp_path / "a", tmp_path / "out", FAST | {"seed": 2, "registration": True}))
    made = tmp_path / "out" / "a" / MANIFEST
    content = json.loads(made.read_text())
    for field, value in (("bias_correction", True), ("identity", False), ("leave_out", ["t2w"]), ("seed", 2)):
        made.write_text(json.dumps(content | {"job": content["job"] | {field: value}}))
        assert not is_done(case), f"'{field}' was asked for then, and is not now"


@pytest.mark.parametrize("recorded", [True, False])
def test_an_image_that_was_replaced_by_an_older_file_is_noticed(tmp_path: Path, recorded: bool) -> None:
    case = case_of_study(write_study(tmp_path / "a"), tmp_path / "out", FAST)
    known_labels_worker.answer(case.job)
    made, image = case.output / MANIFEST, next((tmp_path / "a").glob("*t1c*"))
    content = json.loads(made.read_text()) | {"created": "2020-01-01T00:00:00+00:00"}
    if not recorded:  # as by earlier versions
        for record in content["sequences"].values():
            del record["files_state"]
    made.write_text(json.dumps(content))
    assert is_done(case)
    sitk.WriteImage(sitk.ReadImage(str(image)) + 1, str(tmp_path / "other.nii.gz"))
    os.utime(tmp_path / "other.nii.gz", (1, 1))
    (tmp_path / "other.nii.gz").replace(image)
    assert not is_done(case)


def test_the_files_of_a_study_are_looked_at_once_for_all_its_series(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder of DICOM on a network drive has thousands of files."""
    record = {"path": str(tmp_path), "series_uid": "1.2", "pixels_sha256": "x", "files_state": state_of(tmp_path)}
    looked_at: list[Path] = []

    def counted(path: Path) -> str:
        looked_at.append(path)
        return state_of(path)

    monkeypatch.setattr(cases_module, "state_of", counted)
    assert cases_module._other_images({"sequences": dict.fromkeys(Modality, record)}) == []
    assert looked_at == [tmp_path]


def test_the_state_of_a_folder_is_that_of_all_files_below(tmp_path: Path) -> None:
    slice_file = tmp_path / "series" / "1" / "a.dcm"
    slice_file.parent.mkdir(parents=True)
    slice_file.write_bytes(b"first")
    before = state_of(tmp_path / "series")
    os.utime(slice_file, (1, 1))
    assert before != state_of(tmp_path / "series")


def test_the_defaults_of_a_job_are_known_without_pydantic(tmp_path: Path) -> None:
    job = json.loads(Job(study=tmp_path / "a", output=tmp_path / "out").model_dump_json())
    asked = {name: value for name, value in job.items() if value and name not in ("study", "output")}
    assert {name: value for name, value in asked.items() if name not in ("device",)} == dict(DEFAULTS)


def test_workers_take_the_devices_in_turn() -> None:
    asked: list[str] = []

    class Recorder:
        def start(self, request: dict[str, Any]) -> Any:
            asked.append(request["device"])
            raise RuntimeError("enough")

    workers = LocalWorkers([Recorder(), Recorder(), Recorder()], ["cuda:0", "cuda:1"])
    for place in range(3):
        with pytest.raises(RuntimeError, match="enough"):
            workers._start({}, place, BatchCase("a", {"output": "/nowhere/a"}, ""), False)
    assert asked == ["cuda:0", "cuda:1", "cuda:0"]
    assert threads_of_each(1) >= threads_of_each(1000) == 1


def test_the_time_left_is_reported(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    now = iter([0.0, 30.0, 30.0, 60.0, 60.0, 60.0, 60.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(now))
    display = LineDisplay(3, 1)
    case = BatchCase("a", {}, "")
    display.on_event(CaseEvent(case, Event("stage", "reading")))
    display.on_event(CaseEvent(case, Event("result")))
    display.on_event(CaseEvent(case, Event("error", "It broke.")))
    first, second = capsys.readouterr().err.splitlines()
    assert "1 of 3 a: done (about 30 s left)" in first
    assert "2 of 3 a: It broke." in second


def test_the_bar_can_be_drawn(capsys: pytest.CaptureFixture[str]) -> None:
    case = BatchCase("a", {}, "")
    with BarDisplay(2, 1) as display:
        for event in (Event("stage", "reading"), Event("progress", "", 0.5), Event("error", "It broke.")):
            display.on_event(CaseEvent(case, event, worker="worker 1"))
    assert "a: It broke." in capsys.readouterr().err


# --- the command ---------------------------------------------------------------------------------------------------


def test_the_command_plans_and_refuses(table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    asked = ["batch", str(table), "-o", str(tmp_path / "out"), "--model", MODEL]
    assert main([*asked, "--plan", "--shard", "1/2"]) == 0
    assert f"2 cases: 2 to do\n{MODEL}: 2 cases with T1 + contrast, FLAIR" in capfd.readouterr().out
    assert main([*asked, "--plan", "--json"]) == 0
    assert len(json.loads(capfd.readouterr().out)["cases"]) == 3
    assert not (tmp_path / "out").exists()
    for wrong in (["--shard", "3/2"], ["--workers", "0"]):
        with pytest.raises(SystemExit):
            main([*asked, *wrong])
    (tmp_path / "bids").mkdir()
    for wrong, says in (
        (["--bids", str(tmp_path / "bids")], "exists already"),
        (["--scheduler", "tcp://nowhere:1", "--workers", "2"], "are of this machine"),
        (["--scheduler", "tcp://nowhere:1", "--device", "cuda:0,cuda:1"], "are of this machine"),
    ):
        assert main([*asked, *wrong]) == 1
        assert says in capfd.readouterr().err
    assert not (tmp_path / "out").exists()
    assert main(["batch", str(tmp_path / "none.csv"), "-o", str(tmp_path / "out")]) == 1
    assert "does not exist" in capfd.readouterr().err


def test_the_command_plans_runs_and_reports(
    table: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a worker that knows the labels."""
    from GliomaSegLib.worker import client as worker_process

    monkeypatch.setattr(worker_process, "worker_command", lambda python: known_labels_worker.command())
    (table.parent / "good0002_t1c.nii.gz").unlink()
    asked = ["batch", str(table), "-o", str(tmp_path / "out"), "--model", MODEL, "--no-registration"]
    assert main([*asked, "--workers", "2"]) == 1, "a case has failed"
    said = capfd.readouterr()
    assert "2 done, 1 failed" in said.out
    assert "good0002: cohort.csv, line 4: " in said.out
    assert "Not a medical device" in said.out
    assert "2 of 2" in said.err
    assert main([*asked, "--json"]) == 1
    states = {one["case"]: one["state"] for one in json.loads(capfd.readouterr().out)["cases"]}
    assert states == {"good0000": "done", "good0001": "done", "good0002": "failed"}
    assert own_manifest(tmp_path / "out" / "good0000")["sequences"][Modality.T1C.value]["is_reference"]


def test_the_table_is_described_and_parquet_says_what_it_needs(
    workers: LocalWorkers, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = run_on(table, tmp_path / "out", workers)
    with (tmp_path / "out" / "summary.csv").open(newline="", encoding="utf-8") as stream:
        columns = next(csv.reader(stream))
    assert columns == list(json.loads((tmp_path / "out" / "summary-columns.json").read_text()))
    assert {"source", "notes", "WT_foci"} <= set(columns)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InputError, match=r"pip install 'GliomaSeg\[parquet\]'"):
        summary_module.write_parquet(outcome.cases, tmp_path / "summary.parquet")
