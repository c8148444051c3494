"""Results as BIDS derivatives: the names, what the files hold, tables with their dictionaries."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from GliomaSegLib.batch.bids import write_derivatives
from GliomaSegLib.errors import InputError
from GliomaSegLib.pipeline.run import run
from GliomaSegLib.zoo.store import Store
from Testing.support.study import toy_job, toy_labels, write_study


@pytest.fixture
def result(toy_store: Store, tmp_path: Path) -> Path:
    return run(toy_job(toy_store, tmp_path / "made", study=write_study(tmp_path / "study"))).output


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream, delimiter="\t"))


def test_files_are_named_and_described_as_bids_has_it(result: Path, tmp_path: Path) -> None:
    dataset = write_derivatives({"sub-01": result, "P 2": result}, tmp_path / "bids")
    assert json.loads((dataset / "dataset_description.json").read_text())["DatasetType"] == "derivative"
    for subject in ("sub-01", "sub-P2"):
        stem = dataset / subject / "anat" / f"{subject}_space-orig"
        labels = sitk.ReadImage(f"{stem}_desc-gliomaseg_dseg.nii.gz")
        assert np.array_equal(sitk.GetArrayFromImage(labels), toy_labels())
        probability = sitk.GetArrayFromImage(sitk.ReadImage(f"{stem}_label-WT_desc-gliomaseg_probseg.nii.gz"))
        assert probability.shape == toy_labels().shape
        assert 0 <= probability.min() < probability.max() <= 1
        assert Path(f"{stem}_label-brain_desc-gliomaseg_mask.nii.gz").is_file()
        about = json.loads(Path(f"{stem}_desc-gliomaseg_dseg.json").read_text())
        assert (about["SpatialReference"], about["ReviewState"]) == ("orig", "draft")
    first = rows(dataset / "participants.tsv")[0]
    assert (first["participant_id"], float(first["WT_ml"]), first["model"]) == ("sub-01", pytest.approx(21.6), "toy")
    assert first["RC_ml"] == "n/a"
    assert set(json.loads((dataset / "participants.json").read_text())) == set(first)
    assert [row["abbreviation"] for row in rows(dataset / "desc-gliomaseg_dseg.tsv")] == ["NETC", "SNFH", "ET", "RC"]


def test_sessions_have_a_folder_and_a_table_of_their_own(result: Path, tmp_path: Path) -> None:
    dataset = write_derivatives({f"sub-1_ses-{day}": result for day in ("a", "b")}, tmp_path / "bids")
    assert (dataset / "sub-1/ses-b/anat/sub-1_ses-b_space-orig_desc-gliomaseg_dseg.nii.gz").is_file()
    sessions = rows(dataset / "sub-1" / "sub-1_sessions.tsv")
    assert [row["session_id"] for row in sessions] == ["ses-a", "ses-b"]
    assert rows(dataset / "participants.tsv") == [{"participant_id": "sub-1"}]


def test_a_subject_without_sessions_has_its_volumes_beside_those_with(result: Path, tmp_path: Path) -> None:
    dataset = write_derivatives({"sub-1_ses-a": result, "sub-2": result}, tmp_path / "bids")
    first, second = rows(dataset / "participants.tsv")
    assert (first["participant_id"], first["WT_ml"]) == ("sub-1", "n/a")
    assert (second["participant_id"], float(second["WT_ml"])) == ("sub-2", pytest.approx(21.6))


def test_two_cases_of_one_name_are_refused_and_nothing_is_left(result: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Two cases have one name"):
        write_derivatives({"P 1": result, "P_1": result}, tmp_path / "bids")
    with pytest.raises(InputError, match="no finished case"):
        write_derivatives({}, tmp_path / "bids")
    assert not (tmp_path / "bids").exists()
