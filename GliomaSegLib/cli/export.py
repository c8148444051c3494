"""``gliomaseg export``: writes DICOM objects of a folder of results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.cli.arguments import fields_of
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import ExportBy, ExportKind


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg export``."""
    parser.description = (
        "Write a result as DICOM Segmentation, RT Structure Set and Structured Report (TID 1500) that refer to the "
        "series that was segmented, and as images with the contours burnt in. When nothing is marked, the report says "
        "'absent' and the segmentation's frames are empty. A rejected result is not exported."
    )
    parser.add_argument("results", type=Path, metavar="RESULT", help="folder that 'segment' made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--dicom-seg", action="store_true", help="seg.dcm")
    parser.add_argument("--rtstruct", action="store_true", help="rtstruct.dcm")
    parser.add_argument("--sr", action="store_true", help="sr.dcm, with the seg.dcm that it refers to")
    parser.add_argument(
        "--overlay", action="store_true",
        help="series with the contours burnt in (secondary capture, RGB), on T1 + contrast and FLAIR",
    )  # fmt: skip
    parser.add_argument(
        "--series", type=Path, metavar="DIR", help="the DICOM series, if the result was made from others"
    )
    parser.add_argument(
        "--by", choices=ExportBy.values(), default="regions",
        help="WT, TC and ET (default); their exclusive parts; or every lesion on its own, with its diameters",
    )  # fmt: skip
    parser.add_argument(
        "--comparison", type=Path, metavar="DIR",
        help="folder that 'compare' made: with '--by lesions' every lesion has its number (and Tracking UID) there",
    )  # fmt: skip
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Write the objects; the exit status."""
    from GliomaSegLib.cli.terminal import perform_with_progress
    from GliomaSegLib.job import Export

    wanted = {
        ExportKind.SEG: parsed.dicom_seg,
        ExportKind.RTSTRUCT: parsed.rtstruct,
        ExportKind.SR: parsed.sr,
        ExportKind.OVERLAY: parsed.overlay,
    }
    kinds = tuple(kind for kind, wish in wanted.items() if wish)
    if not kinds:
        raise InputError("Nothing was asked for; say --dicom-seg, --rtstruct, --sr or --overlay, or several of them.")
    given = fields_of(parsed, "results", "output", "series", "by", "comparison")
    exported = perform_with_progress(Export(kinds=kinds, **given))
    for path in exported.files.values():
        print(path, file=output)
    print(NOTICE, file=output)
    return 1 if exported.failures else 0  # a warning has named the objects and the reason
