"""Files compared with their reference: only what both distinguish is scored, and no pair is lost."""

from __future__ import annotations

import csv
import json
import re
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation import files as evaluation
from GliomaSegLib.evaluation.files import Comparison
from GliomaSegLib.evaluation.metrics import How
from GliomaSegLib.evaluation.pairing import pairs_by_name, pairs_in_order, pairs_of_table
from GliomaSegLib.io.segnrrd import write_segmentation
from GliomaSegLib.label_maps import from_internal
from GliomaSegLib.labels import Label, LabelScheme, Region
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.results.layout import LABEL_MAP, SLICER_SEGMENTATION
from GliomaSegLib.zoo.store import Store
from Testing.support.study import TUMOUR, on_grid, toy_job, toy_labels, write_study

THREE = [Region.WT, Region.TC, Region.ET]


@pytest.fixture
def write(tmp_path: Path):
    """Writes internal labels as a plain map in some numbering."""

    def written(name: str, labels: np.ndarray, scheme: str = "gliomaseg") -> Path:
        path = tmp_path / f"{name}.nii.gz"
        sitk.WriteImage(on_grid(from_internal(labels, LabelScheme(scheme))), str(path))
        return path

    return written


def compare_files(files: list[Path], prediction_scheme: str, reference_scheme: str) -> Comparison:
    schemes = LabelScheme(prediction_scheme), LabelScheme(reference_scheme)
    return evaluation.compare_files(pairs_in_order(files), *schemes)


def with_cavity() -> np.ndarray:
    labels = toy_labels()
    labels[TUMOUR[0], 22:26, 20:26] = Label.RC
    return labels


def regions(comparison: Comparison, pair: int = 0) -> list[Region]:
    return list(comparison.pairs[pair].scores)


@pytest.fixture
def whole_tumour_only(toy_store: Store, tmp_path: Path) -> Path:
    """The results of a study without T1c, of which the toy model outlines the whole tumour alone."""
    study = write_study(tmp_path / "study", [Modality.T2F])
    run(toy_job(toy_store, tmp_path / "out", study=study))
    return tmp_path / "out"


def test_one_prediction_against_two_raters_is_two_pairs(write, tmp_path: Path) -> None:
    prediction, same = write("prediction", toy_labels()), write("first", toy_labels())
    half = toy_labels()
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
    assert re.search(rf"{prediction} against {other}\n  WT +0.667", comparison.to_text())
    comparison.write_csv(tmp_path / "scores.csv")
    with (tmp_path / "scores.csv").open(newline="") as stream:
        assert [row["truth"] for row in csv.DictReader(stream)] == [row["truth"] for row in rows]


@pytest.mark.parametrize("name", ["", LABEL_MAP, SLICER_SEGMENTATION])
def test_results_that_tell_the_whole_tumour_alone_are_scored_for_it_alone(
    whole_tumour_only: Path, write, name: str
) -> None:
    comparison = compare_files([whole_tumour_only / name, write("truth", toy_labels())], "gliomaseg", "gliomaseg")
    assert regions(comparison) == [Region.WT]
    assert comparison.pairs[0].scores[Region.WT].dice == 1
    assert {row.region for row in comparison.summary} == {Region.WT}


def test_what_a_reviewer_drew_into_such_results_is_scored(whole_tumour_only: Path, write) -> None:
    write_segmentation(on_grid(toy_labels()), whole_tumour_only / SLICER_SEGMENTATION)
    comparison = compare_files([whole_tumour_only, write("truth", toy_labels())], "gliomaseg", "gliomaseg")
    assert regions(comparison) == THREE
    assert comparison.pairs[0].scores[Region.ET].dice == 1


def test_results_that_slicer_cropped_lie_on_the_grid_of_the_case(whole_tumour_only: Path, write) -> None:
    segmentation = whole_tumour_only / SLICER_SEGMENTATION
    write_segmentation(on_grid(toy_labels())[16:30, 8:22, 4:16], segmentation)
    comparison = compare_files([whole_tumour_only, write("truth", toy_labels())], "gliomaseg", "gliomaseg")
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
    with_one, without = write("with", with_cavity()), write("without", toy_labels())
    files = [with_one, without, without, with_one, without, without]
    comparison = compare_files(files, "gliomaseg", "gliomaseg")
    assert [Region.RC in regions(comparison, pair) for pair in range(3)] == [True, True, False]
    assert comparison.pairs[1].scores[Region.RC].dice == 0
    assert {row.region: row.cases for row in comparison.summary} == dict.fromkeys(THREE, 3) | {Region.RC: 2}


# --- a cohort ------------------------------------------------------------------------------------------------------


@pytest.fixture
def cohort(tmp_path: Path):
    """Writes label maps into a folder under the names given."""

    def written(folder: str, *names: str, labels: np.ndarray | None = None) -> Path:
        for name in names:
            path = tmp_path / folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            image = on_grid(toy_labels() if labels is None else labels)
            write_segmentation(image, path) if name.endswith(".seg.nrrd") else sitk.WriteImage(image, str(path))
        return tmp_path / folder

    return written


def compared(predictions: Path, references: Path, scheme: str = "gliomaseg", how: How | None = None) -> Comparison:
    return evaluation.compare_files(
        pairs_by_name(predictions, references), LabelScheme.GLIOMASEG, LabelScheme(scheme), how
    )


def test_cases_are_matched_by_name_whatever_the_layout(cohort, toy_store: Store, tmp_path: Path) -> None:
    predictions = cohort("predictions", "P1.nii.gz", "P2.seg.nrrd", "extra.nii.gz")
    run(toy_job(toy_store, predictions / "P3", study=write_study(tmp_path / "study")))
    references = cohort(
        "references",
        *("P1-seg.nii.gz", "P2_dseg.nii.gz", "P3/P3-seg.nii.gz", "P3/P3-t1c.nii.gz", "P4.nii.gz", "P5.nii.gz"),
    )
    comparison = compared(predictions, references)
    assert [pair.case for pair in comparison.pairs] == ["P1", "P2", "P3"]
    assert all(pair.scores[Region.WT].dice == 1 for pair in comparison.pairs)
    missing, extra = comparison.doubts
    assert missing == "2 of 5 references have no prediction and are left out: P4, P5."
    assert extra == "1 of 4 predictions have no reference and are left out: extra."
    assert missing in comparison.to_text()
    assert json.loads(comparison.to_json())["doubts"] == [missing, extra]


def test_many_cases_scored_at_once_have_the_figures_that_each_has_alone(cohort) -> None:
    names = [f"P{number}.nii.gz" for number in range(9)]
    predictions, references = cohort("predictions", *names), cohort("references", *names)
    labels = toy_labels()
    for number, name in enumerate(names):
        labels[: TUMOUR[0].start + number] = 0
        sitk.WriteImage(on_grid(labels), str(predictions / name))
    together = compared(predictions, references)
    alone = [
        compare_files([predictions / name, references / name], "gliomaseg", "gliomaseg").pairs[0].scores
        for name in names
    ]
    assert [pair.scores for pair in together.pairs] == alone
    assert len({pair.scores[Region.WT].dice for pair in together.pairs}) == len(names)


def test_what_cannot_be_matched_is_refused(cohort, tmp_path: Path) -> None:
    predictions = cohort("predictions", "A.nii.gz")
    with pytest.raises(InputError, match=r"No case of .*predictions \(A\) is one of .*references \(B\)"):
        pairs_by_name(predictions, cohort("references", "B.nii.gz"))
    with pytest.raises(InputError, match="are both of the case 'A'"):
        pairs_by_name(cohort("predictions", "A_seg.nii.gz"), predictions)
    with pytest.raises(InputError, match="is no folder"):
        pairs_by_name(tmp_path / "nowhere", predictions)
    with pytest.raises(InputError, match="3 files were given"):
        pairs_in_order([tmp_path] * 3)


def test_a_table_names_the_pairs(cohort, tmp_path: Path) -> None:
    cohort("x", "a.nii.gz", "b.nii.gz")
    table = tmp_path / "pairs.csv"
    table.write_text("case,prediction,reference\nP1,x/a.nii.gz,x/b.nii.gz\n")
    (pair,) = pairs_of_table(table).pairs
    assert (pair.case, pair.prediction, pair.reference) == ("P1", tmp_path / "x/a.nii.gz", tmp_path / "x/b.nii.gz")
    table.write_text("case,prediction,reference\n")
    with pytest.raises(InputError, match="has no rows"):
        pairs_of_table(table)


@pytest.mark.parametrize(
    ("heading", "rows", "sentence"),
    [
        ("", "P1,a.nii.gz,b.nii.gz\nP2,a.nii.gz,b.nii.gz", r"line 3: 'P2' has the files of 'P1' \(.*line 2\)"),
        ("", "P1,a.nii.gz,b.nii.gz,1", "line 2: the row is longer than the heading"),
        (",prediction", "P1,a.nii.gz,b.nii.gz,b.nii.gz", "has the column 'prediction' twice"),
        (",fold", 'P1,a.nii.gz,b.nii.gz,"1\nP2,b.nii.gz,a.nii.gz,1', "is no row of a CSV file"),
    ],
)
def test_a_table_loses_no_row_and_counts_none_twice(
    cohort, tmp_path: Path, heading: str, rows: str, sentence: str
) -> None:
    table = cohort("x", "a.nii.gz", "b.nii.gz") / "pairs.csv"
    table.write_text(f"case,prediction,reference{heading}\n{rows}\n")
    with pytest.raises(InputError, match=sentence):
        pairs_of_table(table)


@pytest.mark.parametrize(
    ("values", "doubt"),
    [
        ({Label.SNFH: 1, Label.NETC: 1, Label.ET: 1}, "check whether they are 'whole-tumour' or 'enhancing'"),
        ({Label.SNFH: 2, Label.NETC: 1, Label.ET: 3}, ""),
    ],
)
def test_a_numbering_is_doubted_when_the_labels_speak_against_it(cohort, values: dict[int, int], doubt: str) -> None:
    labels = toy_labels()
    for label, value in values.items():
        labels[toy_labels() == label] = value
    right, other = cohort("right", "P1.nii.gz"), cohort("other", "P1.nii.gz", labels=labels)
    for which, pair in (("references", (right, other)), ("predictions", (other, right))):
        doubts = compared(*pair).doubts
        assert [doubt in one and f"The {which} are read as" in one for one in doubts] == [True] * bool(doubt)


def test_a_missed_region_has_no_hd95_unless_a_penalty_is_asked_for_which_is_named(cohort) -> None:
    predictions = cohort("predictions", "P1.nii.gz", labels=np.zeros_like(toy_labels()))
    references = cohort("references", "P1.nii.gz")
    without = compared(predictions, references)
    assert without.pairs[0].scores[Region.WT].hd95_mm is None
    assert "HD95 of a region that only one of both has is not defined and left out" in without.to_text()
    penalised = compared(predictions, references, how=How(missed_hd95_mm=374))
    score = penalised.pairs[0].scores[Region.WT]
    assert (score.hd95_mm, score.dice, score.nsd, score.lesion_dice, score.lesions_missed) == (374, 0, 0, 0, 1)
    assert score.volume_error_ml == -score.reference_ml
    assert "is counted as 374 mm" in penalised.to_text()
    assert "quartiles" not in penalised.to_text(), "of one case"
