"""Models compared on predictions that exist already: what is tested, what so few cases can show, and the page."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.model_comparison import ModelComparison, compare_models
from GliomaSegLib.evaluation.statistics import least_possible_p, rank_biserial
from GliomaSegLib.labels import LabelScheme, Region
from Testing.support.study import TUMOUR, on_grid, toy_labels


def test_effect_size_is_the_share_of_ranks_for_the_second_minus_that_for_the_first() -> None:
    assert rank_biserial([0, 0, 0], [1, 2, 3]) == 1
    assert rank_biserial([1, 2, 3], [0, 0, 0]) == -1
    assert rank_biserial([0, 0, 0, 5], [1, -2, 3, 5]) == pytest.approx((1 + 3 - 2) / 6)  # the fourth says nothing
    assert rank_biserial([1.0], [1.0]) == 0


def test_the_smallest_possible_p_is_that_of_differences_all_in_one_direction() -> None:
    assert least_possible_p(4) == 0.125
    assert least_possible_p(6) == 0.03125
    assert least_possible_p(0) == 1


def write_cases(folder: Path, cut: int, cases: int) -> Path:
    """Label maps with the tumour's lowest slices cut away: ``cut`` of them and a few more from case to case."""
    folder.mkdir()
    for number in range(cases):
        labels = toy_labels()
        labels[: TUMOUR[0].start + (cut + number % 3 if cut else 0)] = 0
        sitk.WriteImage(on_grid(labels), str(folder / f"P{number}.nii.gz"))
    return folder


def compared(root: Path, cases: int) -> ModelComparison:
    references = write_cases(root / "references", 0, cases)
    folders = [write_cases(root / name, cut, cases) for name, cut in (("poor", 3), ("good", 1))]
    return compare_models(folders, references, LabelScheme.GLIOMASEG, LabelScheme.GLIOMASEG)


def test_the_better_model_has_the_larger_dice_and_the_smaller_distance(tmp_path: Path) -> None:
    tests = {(one.region, one.metric): one for one in compared(tmp_path, 7).tests}
    dice, hd95 = tests[Region.WT, "dice"], tests[Region.WT, "hd95_mm"]
    assert (dice.model, dice.against, dice.difference.cases) == ("good", "poor", 7)
    assert dice.difference.median > 0 > hd95.difference.median
    assert (dice.effect, hd95.effect) == (1, -1)
    assert dice.least_p == dice.difference.p == 2**-6
    assert dice.difference.p_adjusted == pytest.approx(min(1, len(tests) * dice.difference.p))
    assert dice.difference.lower is not None


def test_few_cases_are_said_to_be_able_to_show_nothing(tmp_path: Path) -> None:
    few = compared(tmp_path, 3)
    assert "With so few cases no adjusted p below 1 is possible" in few.to_text()
    assert "too few cases for an interval" in few.to_text()


def test_only_cases_that_every_model_has_are_compared_and_the_rest_is_reported(tmp_path: Path) -> None:
    references = write_cases(tmp_path / "references", 0, 4)
    folders = [write_cases(tmp_path / name, 1, 4) for name in ("a", "b")]
    (folders[1] / "P2.nii.gz").unlink()
    found = compare_models(folders, references, LabelScheme.GLIOMASEG, LabelScheme.GLIOMASEG)
    assert [len(one.pairs) for one in found.models.values()] == [3, 3]
    assert found.doubts == ["1 cases that not every model has are left out: P2."]
    with pytest.raises(InputError, match="two folders"):
        compare_models(folders[:1], references, LabelScheme.GLIOMASEG, LabelScheme.GLIOMASEG)


def test_the_command_writes_one_page_and_tables(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    compared(tmp_path, 3)
    command = ["compare-models", str(tmp_path / "poor"), str(tmp_path / "good"), "--scheme", "gliomaseg"]
    output = tmp_path / "out"
    assert main([*command, "--references", str(tmp_path / "references"), "-o", str(output)]) == 0
    assert "WT Dice: good minus poor +" in capfd.readouterr().out
    page = (output / "models.html").read_text(encoding="utf-8")
    assert page.count("<svg") == 3
    assert "Not a medical device" in page
    assert "no adjusted p below" in page
    with (output / "cases.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {row["model"] for row in rows} == {"poor", "good"}
    assert all(np.isfinite(float(row["lesion_hd95_mm"])) for row in rows)
    assert main([*command, "--references", str(tmp_path / "references"), "-o", str(output)]) == 1
    assert "exists already" in capfd.readouterr().err
