"""The Python code of the documentation runs: every block of a page in turn, and the notebook."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.cli.main import main
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.zoo import catalogue
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.places import STORE_VARIABLE
from GliomaSegLib.zoo.store import Store
from Testing.support.study import TUMOUR, on_grid, truth, write_study

DOCS = Path(__file__).parents[2] / "docs"
MODEL = "gliomaseg-any-v1"


@pytest.fixture
def in_place(toy_zoo: Card, toy_files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with what the page reads, in which a model that takes no time goes by the name of the shipped one."""
    card = replace(toy_zoo, id=MODEL)
    monkeypatch.setattr(catalogue, "all_cards", lambda: {MODEL: card})
    monkeypatch.setenv(STORE_VARIABLE, str(tmp_path / "models"))
    Store(tmp_path / "models").install(card, toy_files)
    write_study(tmp_path / "STUDY")
    for name in ("P1", "P2"):
        write_study(tmp_path / "COHORT" / name)
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("in_place")
def test_the_blocks_of_the_page_on_python_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (DOCS / "python.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 6
    names: dict[str, Any] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"python.md, block {number}", "exec"), names)
    assert np.array_equal(names["labels"], truth().transpose(2, 1, 0))
    assert names["volumes"] == pytest.approx({"P1": 21.6, "P2": 21.6})
    assert "give 'affine'" in capsys.readouterr().out


@pytest.mark.usefixtures("in_place")
def test_the_commands_of_the_page_on_evaluation_run(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    files = {"P1.nii.gz": 0, "R1.nii.gz": 0, "PREDICTIONS/P1.nii.gz": 4, "REFERENCES/P1-seg.nii.gz": 0}
    files |= {"READER_A.nii.gz": 0, "READER_B.nii.gz": 1}
    files |= {f"{folder}/P1.nii.gz": cut for folder, cut in (("MODEL_A", 2), ("MODEL_B", 4))}
    for name, cut in files.items():
        labels = truth()
        labels[: TUMOUR[0].start + cut] = 0
        scheme = LabelScheme.BRATS2017 if name == "R1.nii.gz" else LabelScheme.GLIOMASEG
        (tmp_path / name).parent.mkdir(exist_ok=True)
        sitk.WriteImage(on_grid(from_internal(labels, scheme)), str(tmp_path / name))
    (tmp_path / "pairs.csv").write_text("case,prediction,reference\nP1,P1.nii.gz,REFERENCES/P1-seg.nii.gz\n")
    commands = [
        line.split("  #")[0]
        for block in re.findall(r"```sh\n(.*?)```", (DOCS / "evaluation.md").read_text(encoding="utf-8"), re.DOTALL)
        for line in block.splitlines()
    ]
    assert len(commands) >= 6
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, (command, capfd.readouterr().err)
    assert {"scores.csv", "COMPARED"} <= {path.name for path in tmp_path.iterdir()}


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
