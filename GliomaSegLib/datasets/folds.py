"""Folds of a cross-validation: whole hospitals, several per fold (Helland 2023), or patients (Shirokikh 2019)."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from GliomaSegLib.datasets.case_table import CaseRow
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.spreadsheet import inert

TABLE = "folds.csv"
_TEST = "test"


@dataclass(frozen=True)
class Fold:
    """A part of the patients that is validated on while the others are trained on.

    Attributes:
        name: ``fold-1`` and so on.
        patients: those validated on.
    """

    name: str
    patients: frozenset[str]


def hospital_folds(rows: Sequence[CaseRow], count: int) -> list[Fold]:
    """Folds of whole hospitals with about the same number of patients: the largest hospital goes to the smallest fold.

    A patient whose cases are from several hospitals belongs to the first of them in the table.

    Raises:
        InputError: there are fewer hospitals than folds.
    """
    home: dict[str, str] = {}
    for row in rows:
        home.setdefault(row.patient, row.hospital)
    sizes = Counter(home.values())
    _check(count, len(sizes), "hospitals")
    members: list[list[str]] = [[] for _ in range(count)]
    for hospital, _ in sorted(sizes.items(), key=lambda one: (-one[1], one[0])):
        min(members, key=lambda own: sum(sizes[one] for one in own)).append(hospital)
    return [
        Fold(f"fold-{number}", frozenset(patient for patient, where in home.items() if where in own))
        for number, own in enumerate(members, 1)
    ]


def patient_folds(rows: Sequence[CaseRow], count: int, seed: int) -> list[Fold]:
    """Folds of randomly drawn patients; their sizes differ by one at most.

    Raises:
        InputError: there are fewer patients than folds.
    """
    patients = sorted({row.patient for row in rows})
    _check(count, len(patients), "patients")
    shuffled = np.random.default_rng(seed).permutation(patients).tolist()
    return [Fold(f"fold-{number + 1}", frozenset(shuffled[number::count])) for number in range(count)]


def without_hospitals(rows: Sequence[CaseRow], hospitals: Collection[str]) -> list[CaseRow]:
    """The cases of patients without any case from ``hospitals``, which are held out for the test.

    Raises:
        InputError: no case is from one of them, or no other case is left.
    """
    known = {row.hospital for row in rows}
    if unknown := next((one for one in hospitals if one not in known), None):
        raise InputError(f"No case is from '{unknown}'; the case table has {', '.join(sorted(known))}.")
    kept = {row.patient for row in rows if row.hospital in hospitals}
    left = [row for row in rows if row.patient not in kept]
    if not left:
        raise InputError("Every patient has a case from a hospital that is kept for the test; name fewer of them.")
    return left


def divided(rows: Sequence[CaseRow], fold: Fold) -> tuple[list[CaseRow], list[CaseRow]]:
    """The cases to train on and those to validate on."""
    inside = [row.patient in fold.patients for row in rows]
    return (
        [row for row, here in zip(rows, inside, strict=True) if not here],
        [row for row, here in zip(rows, inside, strict=True) if here],
    )


def write_folds(rows: Sequence[CaseRow], folds: Sequence[Fold], path: Path) -> None:
    """A table of every case with its patient, hospital and fold; ``test`` for cases in no fold.

    Raises:
        InputError: it cannot be written.
    """
    where = {patient: fold.name for fold in folds for patient in fold.patients}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="", encoding="utf-8") as stream:
            table = csv.writer(stream, lineterminator="\n")
            table.writerow(("case", "patient", "hospital", "fold"))
            for row in rows:
                cells = (row.case, row.patient, row.hospital, where.get(row.patient, _TEST))
                table.writerow(map(inert, cells))
    except OSError as error:
        raise InputError(f"The table {path} cannot be written ({error.strerror}); name another folder.") from error


def _check(count: int, there: int, of_what: str) -> None:
    if count < 2:
        raise InputError(f"A cross-validation has at least two folds, not {count}.")
    if there < count:
        raise InputError(f"The case table has {there} {of_what}, too few for {count} folds; ask for fewer.")
