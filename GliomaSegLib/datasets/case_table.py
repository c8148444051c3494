"""Case tables: cases with their image files, patients, hospitals and reference labels.

A case table is a CSV file with the columns ``case``, ``patient``, ``hospital``, ``t1n``, ``t1c``, ``t2w``, ``t2f``,
``truth``, ``truth_of`` and ``scheme``; paths are relative to the folder of the table, or to another that is given. For
a missing sequence the field is empty. ``truth`` is the file of reference labels in the numbering ``scheme``;
``truth_of`` names the sequence that they were drawn on, whose registration they follow. Where a further column
``geometry`` is ``placeholder``, the files have no voxel size and no orientation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.spreadsheet import read_records
from GliomaSegLib.labels import TUMOUR_REGIONS, LabelScheme, Region

# Part of every case's key: increase it when the preparation of cases changes, so that cached files are made again.
PREPARATION = 1

_COLUMNS = ("case", "patient", "hospital", "t1n", "t1c", "t2w", "t2f", "truth", "truth_of", "scheme")
_GEOMETRY, _PLACEHOLDER = "geometry", "placeholder"  # an optional column and its only value
_LEFT_OUT = "label_maps_left_out"
_SPLITS = ("train", "test", "validation")
_TCGA_PATIENT = re.compile(r"TCGA[-_. ]?([A-Z0-9]{2})[-_. ]?([A-Z0-9]{4})", re.IGNORECASE)


@dataclass(frozen=True)
class CaseRow:
    """One row of a case table.

    Attributes:
        reference: file of the reference labels.
        drawn_on: the sequence whose grid they have; ``None`` for that of the reference image.
        scheme: their numbering.
        placeholder: whether the geometry in the files means nothing (see :mod:`GliomaSegLib.datasets.prepared_case`).
    """

    case: str
    patient: str
    hospital: str
    images: Mapping[Modality, Path]
    reference: Path
    drawn_on: Modality | None
    scheme: LabelScheme
    placeholder: bool = False

    @property
    def regions(self) -> tuple[Region, ...]:
        """Those of ``TUMOUR_REGIONS`` that the reference labels distinguish from everything else."""
        return tuple(region for region in TUMOUR_REGIONS if region in self.scheme.regions)

    @property
    def key(self) -> str:
        """A hash of the files' contents and the preparation; the same for a copy of the data in another folder."""
        contents = [hashlib.sha256(path.read_bytes()).hexdigest() for path in (*self.images.values(), self.reference)]
        what = [PREPARATION, [one.value for one in self.images], contents, self.drawn_on, self.scheme]
        if self.placeholder:
            what.append(_PLACEHOLDER)
        return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def read_table(table: Path, root: Path | None = None) -> list[CaseRow]:
    """The rows of a case table.

    Args:
        root: folder to which the paths are relative, instead of the table's own.

    Raises:
        InputError: the table or one of its files is missing, or a row has a value that is not allowed.
    """
    root = root or table.parent
    records = read_records(table, _COLUMNS, "case table")
    rows = [_row(cells, root, f"{table}, line {line}") for line, cells in records]
    names = [row.case.casefold() for row in rows]  # their files are one on Windows and macOS
    if twice := next((row for row in rows if names.count(row.case.casefold()) > 1), None):
        raise InputError(f"The case table {table} has the case '{twice.case}' twice; give every case its own name.")
    if not rows:
        raise InputError(f"The case table {table} has no rows; give it a row per case.")
    return rows


def _row(cells: Mapping[str, str], root: Path, where: str) -> CaseRow:
    if not cells["case"]:
        raise InputError(f"{where}: the case has no name; give it one in the column 'case'.")
    if not cells["truth"]:
        raise InputError(f"{where}: the case '{cells['case']}' has no labels; name them in the column 'truth'.")
    images = {sequence: root / cells[sequence.value] for sequence in Modality if cells[sequence.value]}
    if not images:
        raise InputError(f"{where}: the case '{cells['case']}' has no image; give at least one of t1n, t1c, t2w, t2f.")
    for path in (*images.values(), root / cells["truth"]):
        if not path.is_file():
            raise InputError(f"{where}: {path} does not exist; check the path and the folder that it is relative to.")
    try:
        scheme = LabelScheme(cells["scheme"])
        drawn_on = Modality(cells["truth_of"]) if cells["truth_of"] else None
    except ValueError as error:
        raise InputError(
            f"{where}: {error}; 'scheme' is one of {', '.join(one.value for one in LabelScheme)} and 'truth_of' one of "
            "t1n, t1c, t2w, t2f or empty."
        ) from error
    if drawn_on is not None and drawn_on not in images:
        raise InputError(f"{where}: the labels were drawn on {drawn_on.value}, which the row does not give.")
    geometry = cells.get(_GEOMETRY) or ""
    if geometry not in ("", _PLACEHOLDER):
        raise InputError(f"{where}: '{_GEOMETRY}' is '{geometry}'; leave it empty, or write '{_PLACEHOLDER}'.")
    hospital, patient = cells["hospital"] or "unknown", same_patient(cells["patient"] or cells["case"])
    reference, placeholder = root / cells["truth"], geometry == _PLACEHOLDER
    return CaseRow(cells["case"], patient, hospital, images, reference, drawn_on, scheme, placeholder)


def read_splits(path: Path) -> dict[str, list[str]]:
    """Patients of each split, as :func:`same_patient` spells them; one that the file does not name is empty.

    Raises:
        InputError: the file is not such a table, or a patient is in two splits.
    """
    patients = _lists(path, _SPLITS)
    if not any(patients.values()):
        raise InputError(f"{path} names no patient; give at least one of the lists {', '.join(_SPLITS)}.")
    everyone = [patient for split in patients.values() for patient in split]
    repeated = {patient for patient in everyone if everyone.count(patient) > 1}
    seen: dict[str, str] = {}
    for patient in everyone:
        other = seen.setdefault(same_patient(patient), patient)
        if patient in repeated or other != patient:
            also = "" if other == patient else f", also as '{other}'"
            raise InputError(f"{path} has the patient '{patient}' twice{also}; a patient belongs to one split.")
    return {name: [same_patient(patient) for patient in split] for name, split in patients.items()}


def same_patient(name: str) -> str:
    """One spelling for each patient: TCGA patients appear as ``TCGA-DU-A5TW``, ``TCGA_DU_A5TW_19980228`` and so on."""
    found = _TCGA_PATIENT.search(name)
    return "-".join(("TCGA", *found.groups())).upper() if found else name


def read_left_out(path: Path) -> list[str]:
    """The label maps that a file of splits excludes from training, as their patients are in another split."""
    return _lists(path, (_LEFT_OUT,))[_LEFT_OUT]


def _lists(path: Path, names: Sequence[str]) -> dict[str, list[str]]:
    """The lists that a file of splits has by these names; one that it does not have is empty."""
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise InputError(f"The splits {path} cannot be read ({error}); give a JSON file.") from error
    lists = {name: content.get(name, []) for name in names} if isinstance(content, dict) else {"": content}
    if not all(name and isinstance(one, list) for name, one in lists.items()):
        raise InputError(
            f"{path} does not hold lists of patients; write it as "
            '{"train": ["p01", "p02"], "validation": ["p03"]}, with the splits '
            f"{', '.join(_SPLITS)}."
        )
    return {name: list(map(str, one)) for name, one in lists.items()}


def training_and_validation(
    rows: list[CaseRow], splits: Mapping[str, list[str]], validation: str, hold_out: str | None = None
) -> tuple[list[CaseRow], list[CaseRow]]:
    """The cases to train on and those to validate on. Without splits all are trained on.

    Args:
        splits: see :func:`read_splits`.
        validation: the split to validate on.
        hold_out: validate on this hospital instead, and train on the patients who were never there.

    Raises:
        InputError: a patient is in no split, or no case is from the hospital held out.
    """
    if hold_out is not None:
        watched = [row for row in rows if row.hospital == hold_out]
        if not watched:
            hospitals = ", ".join(sorted({row.hospital for row in rows}))
            raise InputError(f"No case is from '{hold_out}'; the case table has {hospitals}.")
        patients = {row.patient for row in watched}
        return [row for row in rows if row.patient not in patients], watched
    if not splits:
        return rows, []
    where = {patient: name for name, patients in splits.items() for patient in patients}
    lost = next((row for row in rows if row.patient not in where), None)
    if lost is not None:
        raise InputError(f"The patient '{lost.patient}' of case '{lost.case}' is in no split; add it to one.")
    return (
        [row for row in rows if where[row.patient] == "train"],
        [row for row in rows if where[row.patient] == validation],
    )
