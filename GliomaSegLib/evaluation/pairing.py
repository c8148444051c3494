"""Matches predictions with reference labels: by name in two folders, by a table, or in the order of arguments.

In a folder a case is a result folder, a label file (as nnU-Net and the challenges lay them out), or a folder with one
label file in it (BraTS: ``CASE/CASE-seg.nii.gz``; BIDS: ``sub-1/anat/sub-1_dseg.nii.gz``). Its name is that of the file
or folder without a suffix for labels such as ``-seg`` or ``_dseg``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from GliomaSegLib.errors import InputError, listed
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.names import image_stem, is_image_name
from GliomaSegLib.io.spreadsheet import read_records

_LABELS = re.compile(r"[-_.](seg|dseg|segmentation|labels?|mask|gt|truth|reference|pred(iction)?)$", re.IGNORECASE)
_TABLE = ("case", "prediction", "reference")


@dataclass(frozen=True)
class Pair:
    """The segmentation of a case and its reference labels; ``where``: table and line, for error messages."""

    case: str
    prediction: Path
    reference: Path
    where: str = ""
    fold: str = ""


@dataclass(frozen=True)
class Pairing:
    """The pairs, and the names of the cases that only one of both folders has."""

    pairs: Sequence[Pair]
    without_reference: Sequence[str] = ()
    without_prediction: Sequence[str] = ()

    @property
    def unmatched(self) -> list[str]:
        """A sentence on each kind of case that is left out."""
        sides = (
            (self.without_prediction, "reference", "prediction"),
            (self.without_reference, "prediction", "reference"),
        )
        return [
            f"{len(names)} of {len(self.pairs) + len(names)} {one}s have no {other} and are left out: {listed(names)}."
            for names, one, other in sides
            if names
        ]


def pairs_in_order(files: Sequence[Path]) -> Pairing:
    """Prediction, reference, prediction, reference, ….

    Raises:
        InputError: an odd number of files.
    """
    if len(files) % 2:
        raise InputError(f"{len(files)} files were given; give pairs: a prediction, its reference, and so on.")
    return Pairing([Pair(str(one), one, other) for one, other in zip(files[::2], files[1::2], strict=True)])


def pairs_by_name(predictions: Path, references: Path) -> Pairing:
    """Every case that both folders have.

    Raises:
        InputError: one is no folder, has two label maps of one case, or they have no case in common.
    """
    found, drawn = cases_in(predictions), cases_in(references)
    both = [name for name in drawn if name in found]
    if not both:
        raise InputError(
            f"No case of {predictions} ({listed(list(found)) or 'none'}) is one of {references} "
            f"({listed(list(drawn)) or 'none'}); give files or folders of the same names, or a table."
        )
    return Pairing(
        [Pair(name, found[name], drawn[name]) for name in both],
        [name for name in found if name not in drawn],
        [name for name in drawn if name not in found],
    )


def cases_in(folder: Path) -> dict[str, Path]:
    """The label map or result folder of every case in a folder, by name.

    Raises:
        InputError: it is no folder, or two of its files are of one case.
    """
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder; give one with a label map or a result folder per case.")
    cases: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        name, labels = _case_at(path)
        if labels is None:
            continue
        if name in cases:
            raise InputError(f"{cases[name]} and {labels} are both of the case '{name}'; keep one of them in {folder}.")
        cases[name] = labels
    return cases


def _case_at(path: Path) -> tuple[str, Path | None]:
    """A case's name and what holds its labels; ``None`` where there are none."""
    if path.name.startswith("."):
        return "", None
    if path.is_dir():
        if is_result_folder(path):
            return path.name, path
        within = [file for file in sorted(path.rglob("*")) if is_image_name(file)]
        labels = [file for file in within if _LABELS.search(_stem(file))] or within
        return path.name, labels[0] if len(labels) == 1 else None
    return _LABELS.sub("", _stem(path)), path if is_image_name(path) else None


def _stem(path: Path) -> str:
    return image_stem(path).removesuffix(".seg")


def pairs_of_table(table: Path) -> Pairing:
    """The rows of a CSV file with the columns ``case``, ``prediction`` and ``reference``, and perhaps ``fold``.

    Paths are relative to the table.

    Raises:
        InputError: it cannot be read, lacks a column or a value, a file does not exist, or a row is there twice.
    """
    rows = read_records(table, _TABLE)
    if not rows:
        raise InputError(f"The table {table} has no rows; give it a row per case.")
    pairs = [_of_row(row, table.parent, f"{table}, line {line}") for line, row in rows]
    first: dict[tuple[Path, Path], Pair] = {}
    for one in pairs:
        if (other := first.setdefault((one.prediction, one.reference), one)) is not one:
            raise InputError(f"{one.where}: '{one.case}' has the files of '{other.case}' ({other.where}); correct it.")
    return Pairing(pairs)


def _of_row(row: Mapping[str, str], root: Path, where: str) -> Pair:
    if any(not row[name] for name in _TABLE):
        raise InputError(f"{where}: {', '.join(_TABLE)} must be there; one of them is empty.")
    prediction, reference = (root / row[name] for name in _TABLE[1:])
    for path in (prediction, reference):
        if not path.exists():
            raise InputError(f"{where}: {path} does not exist; check the path and the folder of the table.")
    return Pair(row["case"], prediction, reference, where, row.get("fold") or "")
