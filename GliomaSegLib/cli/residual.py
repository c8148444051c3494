"""``gliomaseg evaluate-residual``: residual tumour and gross total resection against references, over folds."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import SCHEMES


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg evaluate-residual``."""
    parser.description = (
        "How well residual tumour after surgery is found: sensitivity, specificity and balanced accuracy of telling it "
        "from gross total resection (less than 0.175 mL), precision, recall and F1 of the patients, Dice of those with "
        "residual tumour and of the true positives, with mean and standard deviation over folds (Helland 2023)."
    )
    parser.add_argument(
        "table", type=Path, metavar="CSV", help="columns case, prediction, reference and perhaps fold; paths beside it"
    )
    parser.add_argument("--scheme", required=True, choices=SCHEMES, help="numbering of the references")
    parser.add_argument(
        "--prediction-scheme", choices=SCHEMES, default="gliomaseg", help="numbering of predictions that are no results"
    )
    parser.add_argument("--json", action="store_true", help="print as JSON, with every patient")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Evaluate the table; the exit status."""
    from GliomaSegLib.evaluation.residual import evaluate_table
    from GliomaSegLib.labels import LabelScheme

    found = evaluate_table(parsed.table, LabelScheme(parsed.prediction_scheme), LabelScheme(parsed.scheme))
    print(found.model_dump_json(indent=2) if parsed.json else found.to_text(), file=output)
    return 0
