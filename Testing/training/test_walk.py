"""The commands of docs/training.md, one after the other, on small made cases: from a table to results of a model."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.main import main
from GliomaSegLib.labels import Region
from GliomaSegLib.resources import resource
from GliomaSegLib.training.dataset import CHANNELS
from Testing import eijgelaar
from Testing.support.training_case import make_case

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
SHAPE = (88, 108, 88)  # a brain of more than 300 mL at 1 mm
STEPS = {"400": "2", "800": "3"}
# The made heads are stripped brains that nothing can be registered to, and lie on the processor.
EXTRA = {"segment": ["--brain", "stripped", "--no-registration", "--device", "cpu"]}
EXTRA["batch"] = EXTRA["segment"]


def commands(name: str) -> list[list[str]]:
    """The words of the commands in the block that the page marks with ``name``."""
    text = PAGE.read_text(encoding="utf-8")
    block = re.search(rf"test_walk\.py: {name} -->\n```sh\n(.*?)```", text, re.DOTALL)
    assert block, name
    return [shlex.split(line)[1:] for line in block[1].splitlines()]


def write_case(folder: Path, seed: int, sequences: tuple[Modality, ...]) -> dict[str, str]:
    """The files of a made case, and its cells in a table."""
    case = make_case(SHAPE, seed=seed)
    folder.mkdir(parents=True)
    cells = {}
    for place, sequence in enumerate(CHANNELS):
        if sequence in sequences:
            grey = (case.images[place].astype("float32") * 40 + 600) * case.brain
            cells[sequence.value] = f"{folder.name}/{sequence.value}.nii.gz"
            sitk.WriteImage(sitk.GetImageFromArray(grey), folder / f"{sequence.value}.nii.gz")
    sitk.WriteImage(sitk.GetImageFromArray(case.labels), folder / "labels.nii.gz")
    return cells | {"truth": f"{folder.name}/labels.nii.gz"}


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the files that the page names: cases, splits, a recipe of one's own, a study, a list of studies."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GLIOMASEG_MODELS", str(tmp_path / "models"))
    every, few = tuple(Modality), (Modality.T1C, Modality.T2F)
    rows = [
        {"case": name, "patient": name, "hospital": "ours", "truth_of": "", "scheme": "gliomaseg"}
        | {"geometry": "placeholder"} | dict.fromkeys(("t1n", "t2w"), "") | write_case(tmp_path / name, seed, has)
        for seed, (name, has) in enumerate((("p01", every), ("p02", few), ("p03", every)))
    ]  # fmt: skip
    with Path("cases.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(rows)
    Path("splits.json").write_text(json.dumps({"train": ["p01", "p02"], "validation": ["p03"]}))
    recipe = json.loads((resource("recipes") / "eijgelaar2020-deepmedic.json").read_bytes())
    recipe |= {"name": "ours", "iterations": 2, "batch": 2, "validation": {"every": 1, "subsets": [["t1c"]]}}
    recipe["view"] |= {"shape": [51, 51, 51], "spacing_mm": 2.0}
    Path("ours.json").write_text(json.dumps(recipe))
    write_case(tmp_path / "STUDY", 7, every)
    Path("STUDY/labels.nii.gz").unlink()
    Path("studies.csv").write_text("case,study\none,STUDY\n")
    return tmp_path


def walk(name: str) -> None:
    for words in commands(name):
        adapted = [STEPS.get(word, word) for word in words] + EXTRA.get(words[0], [])
        if words[:2] == ["train", "gliomaseg-any-site"] and "--iterations" not in words:
            adapted += ["--iterations", STEPS["400"]]
        assert main(adapted) == 0, " ".join(words)


@pytest.mark.slow
def test_a_network_of_the_literature_is_trained_and_used(workplace: Path, capfd: pytest.CaptureFixture[str]) -> None:
    walk("deepmedic")
    shown = capfd.readouterr()
    assert re.search(r"% {2}step 1 of 2, loss \d\.\d+, \d+ min left", shown.err), "in a log, not on a terminal"
    card = json.loads(Path("models/.cards/our-deepmedic.json").read_bytes())
    assert card["network"]["parameters"]["landmarks"].keys() == {"t1n", "t1c", "t2w", "t2f"}
    assert card["measured"][0]["sequences"] == ["t1c"]
    assert sitk.ReadImage("result/segmentation.nii.gz").GetSize() == SHAPE[::-1]
    assert Path("batch/one/segmentation.nii.gz").is_file()
    assert not Path("figures/failures.csv").exists()


def test_the_shipped_model_is_trained_on_with_cases_of_a_hospital_and_longer(workplace: Path) -> None:
    walk("site")
    manifest = json.loads(Path("result/manifest.json").read_bytes())
    assert manifest["model"]["id"] == "our-any"
    assert not Path("figures/failures.csv").exists()
    walk("longer")
    steps = Path("runs/site/steps.csv").read_text().splitlines()
    assert [line.partition(",")[0] for line in steps] == ["step", "1", "2", "3"]


def test_a_shape_that_the_network_cannot_take_is_one_sentence_before_anything_is_prepared(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = json.loads(Path("ours.json").read_bytes())
    given = ["--cases", "cases.csv", "--cache", "prepared", "-o", "run"]
    for change, said in (
        ({"view": {"shape": [57, 57, 56], "spacing_mm": 1.0}}, "odd multiples of 3 from 51 on"),
        ({"view": {"shape": [0, 57, 57], "spacing_mm": 1.0}}, "view.shape.0: Input should be greater than 0"),
        ({"batch": 1}, "Expected more than 1 value per channel"),
        ({"sequences": ["t1c"]}, "batches of 2 with 1 channels"),
        ({"regions": [region.value for region in (Region.WT, Region.TC)]}, "asks for 2 regions"),
        ({"network": {"name": "ar-ca", "parameters": {"plane": [57, 57]}}}, "not multiples of 8"),
    ):
        Path("bad.json").write_text(json.dumps(recipe | change))
        assert main(["train", "bad.json", *given]) == 1
        err = capsys.readouterr().err
        assert said in err
        assert len(err.splitlines()) == 1
    assert main(["train", "ours.json", *given, "--iterations", "0"]) == 1
    assert "--iterations is 0" in capsys.readouterr().err
    assert not Path("prepared").exists()


@pytest.mark.slow
def test_eijgelaars_experiment_runs_from_the_table_to_the_page(workplace: Path) -> None:
    recipe = json.loads(Path("ours.json").read_bytes()) | {"preparation": {}}
    Path("ours.json").write_text(json.dumps(recipe))
    rows = Path("cases.csv").read_text().replace("p01,p01,ours", "p01,p01,brats2021").replace(",ours", ",tcga-du")
    third = rows.splitlines()[-1]
    Path("cases.csv").write_text(f"{rows}{third.replace('p03,p03,tcga-du', 'p04,p04,brats2021')}\n")
    Path("splits.json").write_text(json.dumps({"train": ["p01", "p02"], "test": ["p03", "p04"]}))
    given = ["--data", ".", "--cache", "prepared", "-o", "out", "--cases", "cases.csv", "--splits", "splits.json"]
    assert eijgelaar.main([*given, "--recipe", "ours.json", "--device", "cpu"]) == 0
    assert [line.partition(",")[0] for line in Path("out/challenge.csv").read_text().splitlines()] == ["case", "p01"]
    assert Path("out/experiment/experiment.html").is_file()
    assert not Path("out/experiment/failures.csv").exists()
