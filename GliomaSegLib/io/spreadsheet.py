"""Reads and writes CSV tables as spreadsheets do, with protection against formulas in cells."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TextIO

from GliomaSegLib.errors import InputError

_STARTS_A_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_DELIMITERS = ",;\t"


def write_rows(stream: TextIO, columns: Sequence[str], rows: Iterable[Mapping[str, object]]) -> None:
    """Write a heading and a line per row; no text becomes a formula (see :func:`inert`)."""
    table = csv.DictWriter(stream, columns)
    table.writeheader()
    table.writerows({name: inert(cell) for name, cell in row.items()} for row in rows)


def inert(cell: object) -> object:
    """Protect a cell from being read as a formula: text that begins like one gets a leading apostrophe, which marks
    text in spreadsheets. Numbers are not changed."""
    if not isinstance(cell, str) or not cell.startswith(_STARTS_A_FORMULA):
        return cell
    try:
        float(cell)
    except ValueError:
        return f"'{cell}"
    return cell


def read_csv(table: Path, called: str = "table") -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The heading of a table, and its rows with their line numbers; cells are stripped, empty rows skipped.

    The delimiter is a comma, semicolon or tab; empty lines before the heading and empty columns at its end are skipped.

    Args:
        called: what the table is, for error messages.

    Raises:
        InputError: it cannot be read, or is not UTF-8 text.
    """
    try:
        text = table.read_text(encoding="utf-8-sig")  # spreadsheets mark their UTF-8
    except UnicodeDecodeError as error:
        raise InputError(
            f"The {called} {table} cannot be read (it is not UTF-8 text); give a CSV file, which spreadsheets save as "
            "'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise InputError(f"The {called} {table} cannot be read ({error.strerror}); give a CSV file.") from error
    lines = text.splitlines(keepends=True)
    heading = next((line for line in lines if line.strip(f"{_DELIMITERS} \r\n")), "")
    # Strict: a quotation mark that is never closed would take all further rows into one cell.
    reader = csv.reader(lines, delimiter=max(_DELIMITERS, key=heading.count), strict=True)
    try:
        rows = [(reader.line_num, [cell.strip() for cell in cells]) for cells in reader]
    except csv.Error as error:
        raise InputError(f"{table}, line {reader.line_num} is no row of a CSV file ({error}); correct it.") from error
    rows = [(line, cells) for line, cells in rows if any(cells)]
    if not rows:
        return [], []
    columns = rows[0][1]
    while not columns[-1]:
        columns.pop()
    count = len(columns)
    return columns, [(line, cells[:count] if not any(cells[count:]) else cells) for line, cells in rows[1:]]


def read_records(table: Path, needed: Sequence[str], called: str = "table") -> list[tuple[int, dict[str, str]]]:
    """The rows of a table by column, each with its line number; missing cells are empty.

    Raises:
        InputError: as :func:`read_csv`; or the table or a row lacks one of the columns in ``needed``, a column is there
            twice, or a row has more cells than columns.
    """
    columns, rows = read_csv(table, called)
    if absent := next((name for name in needed if name not in columns), None):
        raise InputError(f"The {called} {table} has no column '{absent}'; it needs {', '.join(needed)}.")
    if twice := next((name for name in columns if name and columns.count(name) > 1), None):
        raise InputError(f"The {called} {table} has the column '{twice}' twice; take one of them out.")
    least = max(map(columns.index, needed)) + 1
    for line, cells in rows:
        if len(cells) < least:
            raise InputError(
                f"{table}, line {line}: the row is shorter than the heading; write an empty field as ',,'."
            )
        if len(cells) > len(columns):
            raise InputError(
                f"{table}, line {line}: the row is longer than the heading; put quotes around text with a comma."
            )
    return [(line, dict(itertools.zip_longest(columns, cells, fillvalue=""))) for line, cells in rows]


def write_csv(path: Path, rows: Iterable[Mapping[str, object]], columns: Sequence[str] = ()) -> None:
    """Write a table with these columns, by default those of the first row; nothing if there are neither.

    Raises:
        InputError: the file cannot be written.
    """
    rows = list(rows)
    if not rows and not columns:
        return
    try:
        with path.open("w", newline="", encoding="utf-8") as stream:
            write_rows(stream, list(columns or rows[0]), rows)
    except OSError as error:
        raise InputError(f"The table {path} cannot be written ({error.strerror}); name another file.") from error
