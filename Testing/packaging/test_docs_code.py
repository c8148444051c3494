"""The Python code of the documentation runs: every block of a page in turn, and the notebook."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.batch import local
from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.job import parse_request
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.worker import server
from GliomaSegLib.worker.client import Task
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.places import STORE_VARIABLE
from GliomaSegLib.zoo.store import Store
from Testing.support.study import TUMOUR, on_grid, toy_labels, volume, write_study

DOCS = Path(__file__).parents[2] / "docs"
MODEL = "gliomaseg-any-v2"
OPTIONS = {
    "batch": ["--model", MODEL, "--brain", "stripped", "--no-registration"],
    "experiment": ["--brain", "stripped"],
}


@pytest.fixture
def in_place(toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the page reads, in which a model that takes no time goes by the names of two of the zoo."""
    cards = {name: replace(toy_zoo, id=name) for name in (MODEL, "ca-cnn-brats17")}
    monkeypatch.setattr(catalogue, "all_cards", lambda: cards)
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))
    for card in cards.values():
        Store(tmp_path / "models").install(card, toy_files)
    write_study(tmp_path / "STUDY")
    for name in ("P1", "P2"):
        write_study(tmp_path / "COHORT" / name)
    monkeypatch.chdir(tmp_path)


def walk(page: Path, capfd: pytest.CaptureFixture[str], left_out: str = "no command") -> None:
    """Run the commands of the page's shell blocks, with the options that the made study needs, in their order."""
    blocks = re.findall(r"```sh\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [re.sub(r"\s+#\s.*", "", line) for block in blocks for line in block.splitlines()]
    commands = [line for line in lines if line.startswith("gliomaseg ") and not re.search(left_out, line)]
    assert len(commands) >= 2
    for command in commands:
        words = shlex.split(os.path.expandvars(command))[1:]
        assert main([*words, *OPTIONS.get(words[0], [])]) == 0, (command, capfd.readouterr().err)


@pytest.mark.usefixtures("in_place")
def test_the_blocks_of_the_page_on_python_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
    assert np.array_equal(names["labels"], toy_labels().transpose(2, 1, 0))
    assert names["volumes"] == pytest.approx({"P1": 21.6, "P2": 21.6})
    assert "give 'affine'" in capsys.readouterr().out


@pytest.mark.usefixtures("in_place")
def test_the_commands_of_the_page_on_evaluation_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {"P1.nii.gz": 0, "R1.nii.gz": 0, "PREDICTIONS/P1.nii.gz": 4, "REFERENCES/P1-seg.nii.gz": 0}
    files |= {"READER_A.nii.gz": 0, "READER_B.nii.gz": 1}
    files |= {f"{folder}/P1.nii.gz": cut for folder, cut in (("MODEL_A", 2), ("MODEL_B", 4))}
    for name, cut in files.items():
        labels = toy_labels()
        labels[: TUMOUR[0].start + cut] = 0
        scheme = LabelScheme.BRATS2017 if name == "R1.nii.gz" else LabelScheme.GLIOMASEG
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(on_grid(from_internal(labels, scheme)), str(tmp_path / name))
    (tmp_path / "pairs.csv").write_text("case,prediction,reference\nP1,P1.nii.gz,REFERENCES/P1-seg.nii.gz\n")
    walk(DOCS / "evaluation.md", capfd)
    assert {"scores.csv", "COMPARED"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.usefixtures("in_place")
def test_the_commands_of_the_page_on_experiments_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, name in enumerate(("A", "B", "C", "DATA/truth")):
        labels = toy_labels()
        labels[: TUMOUR[0].start + number % 3] = 0
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(on_grid(labels), str(tmp_path / f"{name}.nii.gz"))
    write_study(tmp_path / "DATA")
    row = "P1,P1,ours,,head_t1c.nii.gz,,head_t2f.nii.gz,truth.nii.gz,,gliomaseg\n"
    (tmp_path / "CASES.csv").write_text("case,patient,hospital,t1n,t1c,t2w,t2f,truth,truth_of,scheme\n" + row)
    walk(DOCS / "research.md", capfd)
    assert (tmp_path / "OUT" / "experiment.html").is_file()
    with (tmp_path / "OUT" / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["model"] for row in rows} == {MODEL, "ca-cnn-brats17"}
    assert {row["sequences"] for row in rows} == {"T1c + FLAIR", "T1c", "FLAIR"}
    assert max(float(row["dice"]) for row in rows if row["dice"]) > 0.9


class InThisProcess:
    """Does at once what a worker is asked for, where the made models are."""

    def __init__(self, command: Sequence[str], log: Path) -> None: ...

    def start(self, request: Mapping[str, Any]) -> Task:
        task, answers = Task(request), io.StringIO()
        server.serve([lambda: parse_request(json.dumps(request), "it")], server._perform, server.JsonLines(answers))
        for line in answers.getvalue().splitlines():
            task._on_message(json.loads(line))
        return task

    def close(self) -> None: ...


@pytest.mark.usefixtures("in_place")
def test_the_commands_of_the_page_on_many_cases_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """But for graphics cards and Dask clusters, whose tests are elsewhere."""
    monkeypatch.setattr(local, "WorkerProcess", InThisProcess)
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "20")
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "1")
    (tmp_path / "cohort.csv").write_text("case,study\none,COHORT/P1\ntwo,COHORT/P2\n")
    (tmp_path / "BIDS" / "sub-1" / "anat").mkdir(parents=True)
    (tmp_path / "imagesTs").mkdir()
    for number, sequence in enumerate(Modality):
        image = volume(Modality.T2F if sequence is Modality.T2F else Modality.T1C)
        sitk.WriteImage(sitk.Cast(image, sitk.sitkFloat32) + number, str(tmp_path / f"imagesTs/C1_{number:04}.nii.gz"))
    for sequence, suffix in ((Modality.T1C, "ce-gd_T1w"), (Modality.T2F, "FLAIR")):
        sitk.WriteImage(volume(sequence), str(tmp_path / f"BIDS/sub-1/anat/sub-1_{suffix}.nii.gz"))
    walk(DOCS / "cluster.md", capfd, left_out="cuda|scheduler")
    written = {path.name for path in (tmp_path / "DERIVATIVES" / "sub-1" / "anat").iterdir()}
    assert {f"sub-1_space-orig_desc-gliomaseg_dseg.{end}" for end in ("json", "nii.gz")} <= written
    assert (tmp_path / "OUT" / "two" / "report.html").is_file()


def cells() -> list[dict[str, Any]]:
    return json.loads((DOCS / "python.ipynb").read_text(encoding="utf-8"))["cells"]


def test_the_notebook_holds_no_outputs() -> None:
    code = [cell for cell in cells() if cell["cell_type"] == "code"]
    assert len(code) >= 4
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)


@pytest.mark.slow
def test_the_notebook_runs_with_the_model_that_comes_with_the_program() -> None:
    names: dict[str, Any] = {"__name__": "__main__"}
    for number, cell in enumerate(cells()):
        if cell["cell_type"] == "code":
            exec(compile("".join(cell["source"]), f"python.ipynb, cell {number}", "exec"), names)
    assert names["scores"]["WT"].dice > 0.7
    assert names["colour"].shape[2] == 3
