"""``gliomaseg exams``: lists the studies in a folder of DICOM files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import add_json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg exams``."""
    parser.description = (
        "The exams in a folder of DICOM, by patient and date, with the series that would be taken for each sequence, "
        "and those that are incomplete."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    add_json(parser)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """List the studies; the exit status."""
    from GliomaSegLib.study.study_list import list_studies, to_json, to_text

    rows = list_studies(parsed.folder)
    print(to_json(rows) if parsed.json else to_text(rows, parsed.folder), file=output)
    return 0
