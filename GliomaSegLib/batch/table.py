"""Reads the list of cases of a batch from a table (CSV) or from a folder.

A table has the column ``case`` and either ``study`` (a folder of images or DICOM series, or one file) or one or more of
``t1n``, ``t1c``, ``t2w``, ``t2f``, which have precedence over the study. It may have ``patient``, ``without``
(modalities not to use), and ``exam``, ``model``, ``task``, ``time_point``, ``days_since_surgery``, ``purpose``,
``preoperative`` and ``preoperative_mask``, as in :class:`~GliomaSegLib.job.Job`. Other columns are ignored, so that
the tables of :mod:`GliomaSegLib.datasets.case_table` can be used too. Paths are relative to the folder of the table.

A folder is a BIDS dataset (``sub-*/[ses-*/]anat``, Gorgolewski 2016, doi:10.1038/sdata.2016.44), a folder of study
folders, or nnU-Net's ``imagesTs`` (``CASE_0000.nii.gz``, a file per channel), whose channels must be named. An invalid
row is refused with a sentence; the others are not affected.
"""

from __future__ import annotations

import difflib
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from GliomaSegLib.batch.cases import PAGE, PRIVATE, SUMMARY, BatchCase, folder_name, one_of_each
from GliomaSegLib.case import Modality
from GliomaSegLib.errors import InputError
from GliomaSegLib.io.folder import is_result_folder
from GliomaSegLib.io.names import folder_and_part, image_stem, is_image_name
from GliomaSegLib.io.spreadsheet import read_csv
from GliomaSegLib.job import new_job

_IMAGES = ("study", *(sequence.value for sequence in Modality))
_EARLIER = ("preoperative", "preoperative_mask")
_PLAIN = ("exam", "model", "task", "time_point", "days_since_surgery", "purpose")
_COLUMNS = ("case", "patient", *_IMAGES, "without", *_EARLIER, *_PLAIN)
_CHANNEL = re.compile(r"(.+)_(\d{4})")
_RESERVED = frozenset({SUMMARY, PAGE, PRIVATE})


@dataclass(frozen=True)
class Row:
    """One row: its case, its fields of :class:`~GliomaSegLib.job.Job`, and its line or folder (``where``)."""

    case: str
    where: str
    fields: Mapping[str, Any] = field(default_factory=dict)
    patient: str = ""
    refused: str | None = None


@dataclass(frozen=True)
class CaseList:
    """The cases of a batch.

    Attributes:
        source: the table or folder.
        cases: one per row, in its order.
        unused: columns of the table that are not used.
    """

    source: Path
    cases: tuple[BatchCase, ...]
    unused: tuple[str, ...] = ()


def read_case_list(
    source: Path, output: Path, root: Path | None = None, channels: Sequence[Modality] = (), **options: Any
) -> CaseList:
    """Read a table or a folder.

    Args:
        output: folder in which each case gets a folder of its own.
        root: folder to which the paths of a table are relative, instead of the table's own.
        channels: the modalities of the channels of an nnU-Net folder, in order.
        options: fields of every :class:`~GliomaSegLib.job.Job`; those of a row have precedence.

    Raises:
        InputError: there is no such table or folder, or nothing in it can be a case.
    """
    if not source.exists():
        raise InputError(f"{source} does not exist; give a table (CSV) of cases or a folder of studies.")
    if channels and not (source.is_dir() and _channel_files(source)):
        raise InputError(f"{source} is no nnU-Net folder (CASE_0000.nii.gz and so on), so it has no channels to name.")
    rows, unused = (_rows_of_folder(source, output, channels), ()) if source.is_dir() else _rows_of_table(source, root)
    cases = one_of_each([_case(row, output.absolute(), options) for row in rows])
    return CaseList(source, tuple(cases), unused)


def _case(row: Row, output: Path, options: Mapping[str, Any]) -> BatchCase:
    """The row as a case, refused if it is no valid job."""
    folder = output / (folder_name(row.case) or "case")
    case = BatchCase(row.case, {"output": str(folder)}, row.where, row.patient, row.refused)
    if row.refused:
        return case
    if folder.name in _RESERVED:
        return case.but_refused(f"{row.where}: '{row.case}' is a name that the batch needs itself; take another.")
    try:
        job = new_job(**{**options, **row.fields, "output": folder, "case_id": row.case})
        _ = job.when
    except InputError as error:
        return case.but_refused(f"{row.where}: {error}")
    return BatchCase(row.case, job.model_dump(mode="json"), row.where, row.patient)


# --- tables --------------------------------------------------------------------------------------------------------


def _rows_of_table(table: Path, root: Path | None) -> tuple[list[Row], tuple[str, ...]]:
    """The rows, and the columns that are not used."""
    heading, lines = read_csv(table)
    columns = [name.casefold() for name in heading]
    _check_heading(columns, table)
    root = root or table.parent
    rows = [_row(columns, cells, root, f"{table.name}, line {line}") for line, cells in lines]
    if not rows:
        raise InputError(f"The table {table} has no rows; give it a row per case.")
    return rows, tuple(name for name in columns if name not in _COLUMNS)


def _check_heading(columns: list[str], table: Path) -> None:
    """Raise an error for an unusable heading."""
    if "case" not in columns or not set(_IMAGES) & set(columns):
        raise InputError(
            f"The table {table} needs the column 'case' and at least one of {', '.join(_IMAGES)}; its heading is "
            f"'{', '.join(columns)[:200]}'."
        )
    for name in columns:
        if columns.count(name) > 1:
            raise InputError(f"The table {table} has the column '{name}' twice; take one of them out.")
        near = difflib.get_close_matches(name, _COLUMNS, 1, 0.8)
        if name not in _COLUMNS and near:
            raise InputError(
                f"The table {table} has a column '{name}'; is '{near[0]}' meant? Write it so, or rename it."
            )


def _row(columns: list[str], cells: list[str], root: Path, where: str) -> Row:
    row = dict(zip(columns, cells, strict=False))
    name = row.get("case", "")
    if len(cells) != len(columns):
        more = "more" if len(cells) > len(columns) else "fewer"
        return Row(
            name, where,
            refused=f"{where} has {more} fields than the heading; write an empty one as ',,' and put quotes around "
            "text with a comma.",
        )  # fmt: skip
    if not folder_name(name):
        return Row(name, where, refused=f"{where} has no case that can name a folder ('{name}'); give it one.")
    row = {column: text for column, text in row.items() if text}
    paths = {column: root / row[column] for column in _IMAGES if column in row}
    patient = row.get("patient", "")
    if not paths:
        sentence = f"{where}: the case '{name}' has no image; give at least one of {', '.join(_IMAGES)}."
        return Row(name, where, patient=patient, refused=sentence)
    earlier = {column: root / row[column] for column in _EARLIER if column in row}
    for path in (*paths.values(), *earlier.values()):
        if not folder_and_part(path)[0].exists():
            sentence = f"{where}: {path} does not exist; check the path and the folder that it is relative to."
            return Row(name, where, patient=patient, refused=sentence)
    given: dict[str, Any] = earlier | {column: row[column] for column in _PLAIN if column in row}
    if "without" in row:
        given["leave_out"] = row["without"].replace("+", " ").replace(";", " ").replace(",", " ").split()
    volumes = {column: path for column, path in paths.items() if column != "study"}
    return Row(name, where, {"study": paths.get("study"), "volumes": volumes, **given}, patient)


# --- folders -------------------------------------------------------------------------------------------------------


def _rows_of_folder(folder: Path, output: Path, channels: Sequence[Modality]) -> list[Row]:
    if is_result_folder(folder):
        raise InputError(f"{folder} is a folder of GliomaSeg results; give the folder that holds the studies.")
    subjects = [one for one in _folders(folder) if one.name.startswith("sub-")]
    if subjects:
        return [row for subject in subjects for row in _rows_of_subject(subject, folder)]
    studies = [one for one in _folders(folder) if one.resolve() != output.resolve() and not is_result_folder(one)]
    if of_cases := _channel_files(folder):
        return _rows_of_channels(folder, of_cases, channels)
    loose = [one.name for one in sorted(folder.iterdir()) if one.is_file() and is_image_name(one)]
    if loose:
        raise InputError(
            f"{folder} holds image files itself ({loose[0]}{' and others' if len(loose) > 1 else ''}), so it may be "
            "one study; put each study into a folder of its own, or write a table."
        )
    if not studies:
        raise InputError(f"{folder} holds no folders; give a folder with one folder per study, or a table.")
    return [Row(one.name, str(one), {"study": one}) for one in studies]


def _channel_files(folder: Path) -> dict[str, dict[int, Path]]:
    """The files of nnU-Net's layout by case and channel; empty if any file has another name."""
    cases: dict[str, dict[int, Path]] = defaultdict(dict)
    for path in sorted(folder.iterdir()):
        if path.is_file() and is_image_name(path):
            if not (found := _CHANNEL.fullmatch(image_stem(path))):
                return {}
            cases[found[1]][int(found[2])] = path
    return cases


def _rows_of_channels(folder: Path, cases: Mapping[str, Mapping[int, Path]], channels: Sequence[Modality]) -> list[Row]:
    """One row per case of nnU-Net's layout; a missing channel is a missing modality."""
    last = max(number for files in cases.values() for number in files)
    if last >= len(channels):
        raise InputError(
            f"{folder} is laid out as nnU-Net's images with channels 0000 to {last:04d}; say which these are, "
            "in order, such as --channels t1n,t1c,t2w,t2f."
        )
    return [
        Row(name, str(folder), {"volumes": {channels[number]: path for number, path in files.items()}})
        for name, files in cases.items()
    ]


def _rows_of_subject(subject: Path, root: Path) -> list[Row]:
    """One row per session with anatomical images; a subject without sessions is one."""
    sessions = [one for one in _folders(subject) if one.name.startswith("ses-")] or [subject]
    rows = []
    for session in sessions:
        name = "_".join(session.relative_to(root).parts)
        anatomical = session / "anat"
        if anatomical.is_dir():
            rows.append(Row(name, str(session), {"study": anatomical}, subject.name))
        else:
            sentence = f"{session} has no folder 'anat'; put its anatomical images there, as BIDS has it."
            rows.append(Row(name, str(session), patient=subject.name, refused=sentence))
    return rows


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(one for one in folder.iterdir() if one.is_dir() and not one.name.startswith("."))
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror}); check your rights to it.") from error
