"""Residual tumour against gross total resection: the figures of Helland 2023 on patients whose answer is known."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.cli.main import main
from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.residual import PatientResult, evaluate_table, summarised
from GliomaSegLib.labels import Label, LabelScheme


def patient(fold: str, reference_ml: float, predicted_ml: float, dice: float = 0.0) -> PatientResult:
    return PatientResult(case="c", fold=fold, reference_ml=reference_ml, predicted_ml=predicted_ml, dice=dice)


def test_patients_are_counted_by_the_volume_that_tells_residual_tumour_from_none() -> None:
    found = summarised(
        [
            patient("a", 2.0, 1.0, 0.6),  # found
            patient("a", 0.175, 0.175, 0.0),  # found too, whatever the overlap
            patient("a", 1.0, 0.1, 0.2),  # missed: what is predicted is too little to count
            patient("a", 0.1, 0.0),  # gross total resection
            patient("a", 0.0, 0.5),  # false alarm
        ]
    )
    one = found.folds[0]
    counts = (one.true_positives, one.false_positives, one.true_negatives, one.false_negatives)
    assert counts == (2, 1, 1, 1)
    assert one.recall == one.sensitivity == pytest.approx(2 / 3)
    assert one.specificity == 0.5
    assert one.balanced_accuracy == pytest.approx((2 / 3 + 0.5) / 2)
    assert one.precision == pytest.approx(2 / 3)
    assert one.f1 == pytest.approx(2 / 3)
    assert one.dice_positive == pytest.approx((0.6 + 0.0 + 0.2) / 3)
    assert one.dice_true_positive == pytest.approx(0.3)


def test_mean_and_deviation_are_over_the_folds_that_have_the_figure() -> None:
    found = summarised(
        [patient("a", 1, 1, 0.5), patient("a", 0, 0), patient("b", 1, 1, 0.7), patient("b", 0, 1), patient("c", 0, 0)]
    )
    over = {one.metric: one for one in found.over_folds}
    assert over["specificity"].folds == 3
    assert over["specificity"].mean == pytest.approx((1 + 0 + 1) / 3)
    assert over["specificity"].sd == pytest.approx(np.std([1, 0, 1], ddof=1))
    assert over["dice_positive"].folds == 2, "nobody of the third fold has tumour left"
    assert over["dice_positive"].mean == pytest.approx(0.6)
    assert found.together.true_negatives == 2
    text = found.to_text()
    assert text.splitlines()[2].startswith("a")
    assert "0.600±0.141" in text
    assert summarised([patient("all", 0, 0)]).over_folds[0].mean is None


def images(folder: Path) -> Path:
    """Three patients as files: 8 of 27 voxels found, a speck beside a resection, nothing at all."""
    shape, spacing = (12, 12, 12), (2.0, 2.0, 2.0)

    def write(name: str, *boxes: tuple[slice, slice, slice], label: int = Label.ET) -> str:
        array = np.zeros(shape, np.uint8)
        for box in boxes:
            array[box] = label
        image = sitk.GetImageFromArray(array)
        image.SetSpacing(spacing)
        sitk.WriteImage(image, folder / name)
        return name

    cube = (slice(2, 5),) * 3
    rows = [
        ("found", write("p1.nii.gz", cube), write("r1.nii.gz", (slice(2, 5), slice(2, 5), slice(2, 8))), "fold-1"),
        ("speck", write("p2.nii.gz", (slice(8, 9), slice(8, 9), slice(8, 10))), write("r2.nii.gz"), "fold-2"),
        ("cavity", write("p3.nii.gz"), write("r3.nii.gz", cube, label=Label.RC), "fold-2"),
    ]
    with (folder / "table.csv").open("w", newline="") as stream:
        csv.writer(stream).writerows([("case", "prediction", "reference", "fold"), *rows])
    return folder / "table.csv"


def test_a_table_of_files_is_evaluated(tmp_path: Path) -> None:
    found = evaluate_table(images(tmp_path), LabelScheme.GLIOMASEG, LabelScheme.GLIOMASEG)
    by_case = {one.case: one for one in found.patients}
    assert by_case["found"].dice == pytest.approx(2 * 27 / (27 + 54))
    assert by_case["found"].predicted_ml == pytest.approx(27 * 8 / 1000)
    assert by_case["speck"].predicted_ml == 0, "16 mm³ are noise"
    assert by_case["cavity"].reference_ml == 0, "the cavity is no tumour"
    assert [(one.true_positives, one.true_negatives) for one in found.folds] == [(1, 0), (0, 2)]


def test_the_command_prints_the_table_and_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = images(tmp_path)
    assert main(["evaluate-residual", str(table), "--scheme", "gliomaseg"]) == 0
    text = capfd.readouterr().out
    assert "bal. acc." in text
    assert "fold-2" in text
    assert "mean ± SD" in text
    assert main(["evaluate-residual", str(table), "--scheme", "gliomaseg", "--json"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["together"]["balanced_accuracy"] == 1.0
    assert [one["case"] for one in found["patients"]] == ["found", "speck", "cavity"]


def test_what_cannot_be_judged_is_refused(tmp_path: Path) -> None:
    table, scheme = images(tmp_path), LabelScheme.GLIOMASEG
    masks = tmp_path / "masks.csv"
    masks.write_text("case,prediction,reference\nx,p2.nii.gz,r2.nii.gz\n")
    with pytest.raises(InputError, match="does not delineate enhancing tumour"):
        evaluate_table(masks, scheme, LabelScheme.WHOLE_TUMOUR)
    (tmp_path / "r2.nii.gz").unlink()
    with pytest.raises(InputError, match=r"line 3: .*r2\.nii\.gz does not exist"):
        evaluate_table(table, scheme, scheme)
    table.write_text("case,prediction\nx,y\n")
    with pytest.raises(InputError, match="no column 'reference'"):
        evaluate_table(table, scheme, scheme)
    table.write_text("case,prediction,reference\nx,,r1.nii.gz\n")
    with pytest.raises(InputError, match="one of them is empty"):
        evaluate_table(table, scheme, scheme)
    table.write_text("case,prediction,reference\nx,p1.nii.gz,r1.nii.gz\nx,p3.nii.gz,r3.nii.gz\n")
    with pytest.raises(InputError, match="the case 'x' twice"):
        evaluate_table(table, scheme, scheme)
    table.write_text("case,prediction,reference\n")
    with pytest.raises(InputError, match="a row per case"):
        evaluate_table(table, scheme, scheme)
    other = sitk.GetImageFromArray(np.zeros((9, 9, 9), np.uint8))
    sitk.WriteImage(other, tmp_path / "p1.nii.gz")
    table.write_text("case,prediction,reference\nx,p1.nii.gz,r1.nii.gz\n")
    with pytest.raises(InputError, match="different grids"):
        evaluate_table(table, scheme, scheme)


@pytest.mark.parametrize(("which", "names"), [("predictions", "one,r1"), ("references", "r1,one")])
def test_masks_of_ones_are_not_counted_as_patients_without_tumour(tmp_path: Path, which: str, names: str) -> None:
    """Read as the core, which is no enhancing tumour, they would give a sensitivity, or a specificity, of 0."""
    table, scheme = images(tmp_path), LabelScheme.GLIOMASEG
    one = sitk.ReadImage(str(tmp_path / "r1.nii.gz")) != 0
    sitk.WriteImage(one, tmp_path / "one.nii.gz")
    table.write_text(f"case,prediction,reference\nx,{names.replace(',', '.nii.gz,')}.nii.gz\n")
    with pytest.raises(InputError, match=f"The {which} are read as 'gliomaseg', but they hold 1 alone"):
        evaluate_table(table, scheme, scheme)
    schemes = [LabelScheme.ENHANCING if name == "one" else scheme for name in names.split(",")]
    assert evaluate_table(table, *schemes).patients[0].dice == 1
