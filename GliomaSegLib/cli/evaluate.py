"""``gliomaseg evaluate``, ``evaluate-residual`` and ``agree``: against references or one another."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import SCHEMES, add_json
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Consensus


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg evaluate``."""
    parser.description = "Dice, HD95 and sensitivity per region, one pair of files after the other."
    parser.add_argument("files", type=Path, nargs="+", metavar="PRED REF", help="files, or for PRED a result folder")
    parser.add_argument("--scheme", required=True, choices=SCHEMES, help="numbering of REF")
    parser.add_argument("--prediction-scheme", choices=SCHEMES, default="gliomaseg", help="numbering of PRED")
    add_json(parser)
    parser.add_argument("--csv", type=Path, metavar="F", help="also write a row per case and region")
    parser.set_defaults(command=_evaluate)


def _evaluate(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.files import compare_files

    comparison = compare_files(parsed.files, parsed.prediction_scheme, parsed.scheme)
    if parsed.csv:
        comparison.write_csv(parsed.csv)
    print(comparison.to_json() if parsed.json else comparison.to_text(), file=output)
    return 0


def add_residual_arguments(parser: argparse.ArgumentParser) -> None:
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
    add_json(parser, "print as JSON, with every patient")
    parser.set_defaults(command=_evaluate_residual)


def _evaluate_residual(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.residual import evaluate_table

    found = evaluate_table(parsed.table, LabelScheme(parsed.prediction_scheme), LabelScheme(parsed.scheme))
    print(found.model_dump_json(indent=2) if parsed.json else found.to_text(), file=output)
    return 0


def add_agreement_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg agree``."""
    parser.description = (
        "How far readers agree: label files of one case, or a table (CSV) with the columns case, reader, file, and if "
        "need be assisted (yes or no) and seconds. With three or more readers who have drawn the same cases by hand "
        "and assisted, also each of them against the others, after Shirokikh 2019."
    )
    parser.add_argument("readings", type=Path, nargs="+", metavar="FILE", help="two or more files, or one table")
    parser.add_argument("--region", choices=[region.value for region in Region], default="WT")
    parser.add_argument("--scheme", choices=SCHEMES, default="gliomaseg", help="numbering of the label files")
    parser.add_argument("--consensus", choices=Consensus.values(), default="majority")
    parser.add_argument("--tolerance", type=float, default=1.0, metavar="MM", help="of the surface Dice (default 1)")
    parser.add_argument("--write-consensus", type=Path, metavar="F", help="write the consensus of one case as a mask")
    add_json(parser)
    parser.set_defaults(command=_agree)


def _agree(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.readings import Reading, compare_readings, read_consensus, read_readings, to_text
    from GliomaSegLib.io.images import write_image

    if len(parsed.readings) == 1:
        readings = read_readings(parsed.readings[0])
    else:
        readings = [Reading("the case", str(path), path) for path in parsed.readings]
    region, scheme, how = Region(parsed.region), LabelScheme(parsed.scheme), Consensus(parsed.consensus)
    result = compare_readings(readings, region, scheme, how, parsed.tolerance)
    if parsed.write_consensus:
        if len(result.cases) > 1:
            raise InputError("A consensus is written of the readings of one case; give them as files.")
        write_image(read_consensus(readings, region, scheme, how), parsed.write_consensus)
    print(result.model_dump_json(indent=2) if parsed.json else to_text(result), file=output)
    return 0
