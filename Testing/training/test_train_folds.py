"""Which cases ``gliomaseg train`` trains on and which it watches, where it is asked for folds."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from GliomaSegLib.cli import train
from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.progress import Silent
from GliomaSegLib.training.recipe import Recipe, find_recipe, read_recipe
from GliomaSegLib.training.synthesis import label_maps, pool
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text

ROWS = [
    CaseRow(f"{hospital}{number}", f"{hospital}{number}", hospital, {}, Path(), None, LabelScheme.GLIOMASEG)
    for hospital, count in (("a", 6), ("b", 3), ("c", 3), ("d", 2))
    for number in range(count)
]


def parsed(tmp_path: Path, *words: str, recipe: str = "helland2023-nnunet") -> tuple[argparse.Namespace, Recipe]:
    parser = argparse.ArgumentParser()
    train.add_arguments(parser)
    given = [recipe, "--cases", "t.csv", "--cache", str(tmp_path), "-o", str(tmp_path / "run"), *words]
    return parser.parse_args(given), read_recipe(find_recipe(recipe))


def parts(tmp_path: Path, *words: str) -> list[train._Part]:
    return train._parts(*parsed(tmp_path, *words), ROWS)


def test_folds_hold_out_several_hospitals_and_the_tests_own_are_in_none(tmp_path: Path) -> None:
    found = parts(tmp_path, "--folds", "2", "--test-hospital", "d")
    assert [part.folder.name for part in found] == ["fold-1", "fold-2"]
    assert [sorted({row.hospital for row in part.watched}) for part in found] == [["a"], ["b", "c"]]
    for part in found:
        assert "d" not in {row.hospital for row in (*part.train, *part.watched)}
        assert len(part.train) + len(part.watched) == 12
    assert (tmp_path / "run" / "folds.csv").read_text().count(",test\n") == 2


def test_folds_of_patients(tmp_path: Path) -> None:
    found = parts(tmp_path, "--folds", "5", "--folds-of", "patients")
    assert sorted(row.case for part in found for row in part.watched) == sorted(row.case for row in ROWS)
    assert {len(part.watched) for part in found} == {2, 3}


def test_without_folds_nothing_is_new(tmp_path: Path) -> None:
    whole = parts(tmp_path)
    assert [(len(part.train), len(part.watched), part.folder.name) for part in whole] == [(14, 0, "run")]
    each = parts(tmp_path, "--cross-validation")
    assert [(part.folder.name, len(part.watched)) for part in each] == [("a", 6), ("b", 3), ("c", 3), ("d", 2)]
    assert not (tmp_path / "run" / "folds.csv").exists()
    with pytest.raises(InputError, match="--test-hospital is of --folds"):
        parts(tmp_path, "--test-hospital", "d")


@pytest.mark.parametrize(
    "words",
    [("--hold-out", "b"), ("--cross-validation",), ("--folds", "2"), ("--folds", "3", "--folds-of", "patients")],
)
def test_the_test_patients_of_the_splits_are_in_no_training_however_the_others_are_divided(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    splits = tmp_path / "splits.json"
    splits.write_text('{"test": ["a0", "b1"], "train": ["a1"]}')
    found = parts(tmp_path, *words, "--splits", str(splits))
    for part in found:
        assert not {"a0", "b1"} & {row.patient for row in (*part.train, *part.watched)}
        assert len(part.train) + len(part.watched) == 12


@pytest.mark.parametrize("words", [(), ("--folds", "2")])
def test_no_label_map_of_a_patient_held_out_becomes_a_synthetic_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    """Only those that the splits list as label maps were left out, which cannot be right for each fold."""
    patients = {row.patient for row in ROWS}
    splits = {"train": sorted(patients - {"d0", "d1"}), "test": ["d0", "elsewhere"], "validation": ["d1"]}
    (tmp_path / "splits.json").write_text(json.dumps(splits))
    (tmp_path / "maps.npz").touch()
    left_out: list[set[str]] = []
    monkeypatch.setattr(label_maps, "read_label_maps", lambda _path, _mm, names: left_out.append(set(names)))
    monkeypatch.setattr(pool, "write_pool", lambda *_: [])
    files = ["--label-maps", str(tmp_path / "maps.npz"), "--splits", str(tmp_path / "splits.json")]
    given = parsed(tmp_path, *files, *words, recipe="gliomaseg-any-v1-fine")
    found = train._parts(*given, ROWS)
    for part in found:
        train._synthetic(*given, part.train, ROWS, Silent())
    assert left_out == [{*patients, "elsewhere"} - {row.patient for row in part.train} for part in found]


def test_a_hospital_s_folder_is_inside_that_of_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = {"a": "../a", "b": "St. Olavs / NTNU", "c": "c", "d": "d"}
    monkeypatch.setattr(sys.modules[__name__], "ROWS", [replace(row, hospital=names[row.hospital]) for row in ROWS])
    folders = [part.folder for part in parts(tmp_path, "--cross-validation")]
    assert {folder.parent for folder in folders} == {tmp_path / "run"}
    assert len(set(folders)) == 4
    assert tmp_path / "run" / "c" in folders


def test_a_model_of_the_named_store_is_trained_on(tmp_path: Path, toy_card: Card) -> None:
    (tmp_path / ".cards").mkdir()
    (tmp_path / ".cards" / "ours.json").write_text(card_text(replace(toy_card, id="ours")))
    with pytest.raises(WeightsError, match="'ours' are not installed"):
        train.initial_weights("ours:network", tmp_path)
