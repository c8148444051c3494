"""``gliomaseg evaluate``: Dice, HD95 and sensitivity of segmentations against references."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import SCHEMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg evaluate``."""
    parser.description = "Dice, HD95 and sensitivity per region, one pair of files after the other."
    parser.add_argument("files", type=Path, nargs="+", metavar="PRED TRUTH", help="files, or for PRED a result folder")
    parser.add_argument("--scheme", required=True, choices=SCHEMES, help="numbering of TRUTH")
    parser.add_argument("--prediction-scheme", choices=SCHEMES, default="gliomaseg", help="numbering of PRED")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--csv", type=Path, metavar="F", help="also write a row per case and region")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Compare the files; the exit status."""
    from GliomaSegLib.evaluation.files import compare_files

    comparison = compare_files(parsed.files, parsed.prediction_scheme, parsed.scheme)
    if parsed.csv:
        comparison.write_csv(parsed.csv)
    print(comparison.to_json() if parsed.json else comparison.to_text(), file=output)
    return 0
