"""Folds of whole hospitals and of patients."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.datasets.folds import divided, hospital_folds, patient_folds, without_hospitals, write_folds
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme

# Helland 2023, Table 1 in about: hospitals and their patients.
SIZES = {"STO": 23, "GRO": 8, "MIL": 5, "UTR": 3, "SFR": 9, "VIE": 6, "PAR": 7, "ZWO": 4, "AMS": 7}


def rows() -> list[CaseRow]:
    found = []
    for hospital, count in SIZES.items():
        for number in range(count):
            patient = f"{hospital}-{number}"
            for case in range(1 + number % 2):  # some patients have two studies
                found.append(CaseRow(f"{patient}-{case}", patient, hospital, {}, Path(), None, LabelScheme.GLIOMASEG))
    return found


def test_hospitals_are_held_out_whole_and_the_folds_are_about_as_large_as_one_another() -> None:
    left = without_hospitals(rows(), ["AMS"])
    folds = hospital_folds(left, 4)
    assert [fold.name for fold in folds] == ["fold-1", "fold-2", "fold-3", "fold-4"]
    patients = [patient for fold in folds for patient in fold.patients]
    assert len(patients) == len(set(patients)) == sum(SIZES.values()) - SIZES["AMS"]
    hospitals = [{patient.split("-")[0] for patient in fold.patients} for fold in folds]
    assert sum(map(len, hospitals)) == len(SIZES) - 1, "no hospital is in two folds"
    assert max(map(len, hospitals)) > 1, "a fold holds out several"
    sizes = sorted(len(fold.patients) for fold in folds)
    assert sizes[-1] == SIZES["STO"], "the largest hospital alone"
    assert sizes[2] - sizes[0] <= 3
    train, watched = divided(left, folds[0])
    assert not {row.patient for row in train} & {row.patient for row in watched}
    assert len(train) + len(watched) == len(left)
    assert hospital_folds(list(reversed(left)), 4) == folds, "whatever the order of the table"


def test_patients_are_drawn_into_folds_whose_sizes_differ_by_one() -> None:
    folds = patient_folds(rows(), 5, seed=1)
    sizes = [len(fold.patients) for fold in folds]
    assert sum(sizes) == sum(SIZES.values())
    assert max(sizes) - min(sizes) <= 1
    assert patient_folds(rows(), 5, seed=1) == folds
    assert patient_folds(rows(), 5, seed=2) != folds
    train, watched = divided(rows(), folds[2])
    assert {row.patient for row in watched} == folds[2].patients, "all studies of a patient"
    assert not {row.patient for row in train} & folds[2].patients


def test_the_table_says_who_is_in_which_fold(tmp_path: Path) -> None:
    left = without_hospitals(rows(), ["AMS"])
    folds = hospital_folds(left, 3)
    write_folds(rows(), folds, tmp_path / "run" / "folds.csv")
    with (tmp_path / "run" / "folds.csv").open(newline="") as stream:
        table = list(csv.DictReader(stream))
    assert len(table) == len(rows())
    assert {row["fold"] for row in table if row["hospital"] == "AMS"} == {"test"}
    assert {row["fold"] for row in table if row["hospital"] != "AMS"} == {"fold-1", "fold-2", "fold-3"}


def test_too_many_folds_and_unknown_hospitals_are_refused() -> None:
    with pytest.raises(InputError, match="has 9 hospitals, too few for 10 folds"):
        hospital_folds(rows(), 10)
    with pytest.raises(InputError, match="at least two folds, not 1"):
        patient_folds(rows(), 1, seed=0)
    with pytest.raises(InputError, match="No case is from 'OSL'; the case table has AMS"):
        without_hospitals(rows(), ["OSL"])
    with pytest.raises(InputError, match="name fewer of them"):
        without_hospitals(rows(), list(SIZES))
