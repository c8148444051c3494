"""Files compared with their truth: only what both tell apart is scored, and no pair is lost."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.evaluation.files import Comparison, compare_files
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.layout import LABEL_MAP, SLICER_SEGMENTATION
from GliomaSegLib.zoo.store import Store
from Testing.support.study import TUMOUR, on_grid, toy_job, truth, write_study

THREE = [Region.WT, Region.TC, Region.ET]


@pytest.fixture
def write(tmp_path: Path):
    """Writes internal labels as a plain map in some numbering."""

    def written(name: str, labels: np.ndarray, scheme: str = "gliomaseg") -> Path:
        path = tmp_path / f"{name}.nii.gz"
        sitk.WriteImage(on_grid(from_internal(labels, LabelScheme(scheme))), str(path))
        return path

    return written


def with_cavity() -> np.ndarray:
    labels = truth()
    labels[TUMOUR[0], 22:26, 20:26] = Label.RC
    return labels


def regions(comparison: Comparison, pair: int = 0) -> list[Region]:
    return list(comparison.pairs[pair].scores)


@pytest.fixture
def whole_tumour_only(toy_store: Store, tmp_path: Path) -> Path:
    """The results of a study without T1c, of which the toy model tells the whole tumour alone."""
    study = write_study(tmp_path / "study", [Modality.T2F])
    run(toy_job(toy_store, tmp_path / "out", study=study))
    return tmp_path / "out"


def test_one_prediction_against_two_raters_is_two_pairs(write, tmp_path: Path) -> None:
    prediction, same = write("prediction", truth()), write("first", truth())
    half = truth()
    half[: TUMOUR[0].start + 4] = 0
    other = write("second", half)
    comparison = compare_files([prediction, same, prediction, other], "gliomaseg", "gliomaseg")
    rows = comparison.to_rows()
    assert [(row["case"], row["truth"]) for row in rows] == [
        (str(prediction), str(r)) for r in (same, other) for _ in THREE
    ]
    assert [rows[0]["dice"], rows[3]["dice"]] == pytest.approx([1, 2 / 3])
    assert {row.cases for row in comparison.summary} == {2}
    assert json.loads(comparison.to_json())["cases"] == rows
    assert f"{prediction} against {other}\n  WT      0.667" in comparison.to_text()
    comparison.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as stream:
        assert [row["truth"] for row in csv.DictReader(stream)] == [row["truth"] for row in rows]


@pytest.mark.parametrize("name", ["", LABEL_MAP, SLICER_SEGMENTATION])
def test_results_that_tell_the_whole_tumour_alone_are_scored_for_it_alone(
    whole_tumour_only: Path, write, name: str
) -> None:
    comparison = compare_files([whole_tumour_only / name, write("truth", truth())], "gliomaseg", "gliomaseg")
    assert regions(comparison) == [Region.WT]
    assert comparison.pairs[0].scores[Region.WT].dice == 1
    assert {row.region for row in comparison.summary} == {Region.WT}


def test_what_a_reviewer_drew_into_such_results_is_scored(whole_tumour_only: Path, write) -> None:
    write_segmentation(on_grid(truth()), whole_tumour_only / SLICER_SEGMENTATION)
    comparison = compare_files([whole_tumour_only, write("truth", truth())], "gliomaseg", "gliomaseg")
    assert regions(comparison) == THREE
    assert comparison.pairs[0].scores[Region.ET].dice == 1


def test_results_that_slicer_cropped_lie_on_the_grid_of_the_case(whole_tumour_only: Path, write) -> None:
    segmentation = whole_tumour_only / SLICER_SEGMENTATION
    write_segmentation(on_grid(truth())[16:30, 8:22, 4:16], segmentation)
    comparison = compare_files([whole_tumour_only, write("truth", truth())], "gliomaseg", "gliomaseg")
    assert comparison.pairs[0].scores[Region.WT].dice == 1


@pytest.mark.parametrize(
    ("prediction_scheme", "truth_scheme", "expected"),
    [
        ("gliomaseg", "whole-tumour", [Region.WT]),
        ("whole-tumour", "gliomaseg", [Region.WT]),
        ("whole-tumour", "brats2017", [Region.WT]),
        ("brats2017", "gliomaseg", THREE),
        ("gliomaseg", "brats2017", THREE),
        ("gliomaseg", "gliomaseg", [*THREE, Region.RC]),
    ],
)
def test_only_what_both_numberings_have_is_scored(
    write, prediction_scheme: str, truth_scheme: str, expected: list[Region]
) -> None:
    files = [write(n, with_cavity(), s) for n, s in (("prediction", prediction_scheme), ("truth", truth_scheme))]
    comparison = compare_files(files, prediction_scheme, truth_scheme)
    assert regions(comparison) == expected
    assert all(score.dice == 1 for score in comparison.pairs[0].scores.values())


def test_the_cavity_counts_where_one_of_both_has_one(write) -> None:
    with_one, without = write("with", with_cavity()), write("without", truth())
    files = [with_one, without, without, with_one, without, without]
    comparison = compare_files(files, "gliomaseg", "gliomaseg")
    assert [Region.RC in regions(comparison, pair) for pair in range(3)] == [True, True, False]
    assert comparison.pairs[1].scores[Region.RC].dice == 0
    assert {row.region: row.cases for row in comparison.summary} == dict.fromkeys(THREE, 3) | {Region.RC: 2}
