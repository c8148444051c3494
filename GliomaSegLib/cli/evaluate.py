"""``gliomaseg evaluate``, ``compare-models``, ``evaluate-residual`` and ``agree``: score and compare segmentations."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.cli.arguments import SCHEMES, add_json
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Challenge, Consensus

if TYPE_CHECKING:
    from GliomaSegLib.evaluation.metrics import How


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg evaluate``."""
    parser.description = (
        "Per region Dice, HD95, NSD, sensitivity, precision and volume error, and the lesion-wise Dice and HD95 of "
        "BraTS 2023: of pairs of files, of a table (CSV: case, prediction, reference), or of two folders whose cases "
        "are matched by name (label maps as nnU-Net lays them out, or result folders)."
    )
    parser.add_argument(
        "files", type=Path, nargs="*", metavar="PRED REF", help="files, or for PRED a result folder; or one table"
    )
    parser.add_argument("--predictions", type=Path, metavar="DIR", help="a label map or a result folder per case")
    parser.add_argument("--references", type=Path, metavar="DIR", help="a label map per case, by the same names")
    _add_scoring(parser)
    add_json(parser)
    parser.add_argument("--csv", type=Path, metavar="F", help="also write a row per case and region")
    parser.set_defaults(command=_evaluate)


def _add_scoring(parser: argparse.ArgumentParser) -> None:
    """The options on how predictions are scored: numberings, lesions, penalty."""
    parser.add_argument("--scheme", required=True, choices=SCHEMES, help="numbering of the references")
    parser.add_argument(
        "--prediction-scheme", choices=SCHEMES, default="gliomaseg", help="numbering of predictions that are no results"
    )
    parser.add_argument(
        "--challenge", choices=Challenge.values(), default="gli",
        help="of BraTS 2023, by whose rules lesions are counted (default: %(default)s)",
    )  # fmt: skip
    parser.add_argument("--tolerance", type=float, default=1.0, metavar="MM", help="of NSD (default 1)")
    parser.add_argument(
        "--missed-hd95", type=float, metavar="MM",
        help="HD95 of a region that only one of both has, 374 in BraTS; by default it is not defined and left out",
    )  # fmt: skip


def _how(parsed: argparse.Namespace) -> How:
    from GliomaSegLib.evaluation.metrics import How

    for name in ("tolerance", "missed_hd95"):
        if (given := getattr(parsed, name)) is not None and not given > 0:
            raise InputError(f"--{name.replace('_', '-')} is {given:g}; give a number of mm above 0.")
    return How(challenge=parsed.challenge, tolerance_mm=parsed.tolerance, missed_hd95_mm=parsed.missed_hd95)


def _evaluate(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.files import compare_files
    from GliomaSegLib.evaluation.pairing import Pairing, pairs_by_name, pairs_in_order, pairs_of_table
    from GliomaSegLib.terminal import progress_for_stderr

    def pairing() -> Pairing:
        if bool(parsed.predictions) is not bool(parsed.references) or bool(parsed.predictions) is bool(parsed.files):
            raise InputError("Give pairs of files, one table, or both --predictions DIR and --references DIR.")
        if parsed.predictions:
            return pairs_by_name(parsed.predictions, parsed.references)
        if len(parsed.files) == 1 and parsed.files[0].suffix.lower() == ".csv":
            return pairs_of_table(parsed.files[0])
        return pairs_in_order(parsed.files)

    how, pairs = _how(parsed), pairing()
    schemes = LabelScheme(parsed.prediction_scheme), LabelScheme(parsed.scheme)
    with progress_for_stderr() as progress:
        comparison = compare_files(pairs, *schemes, how, progress)
    if parsed.csv:
        comparison.write_csv(parsed.csv)
    print(comparison.to_json() if parsed.json else comparison.to_text(), file=output)
    return 0


def add_models_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg compare-models``."""
    parser.description = (
        "Predictions that exist already, a folder per model, against references of the same names: Wilcoxon's "
        "signed-rank tests with effect sizes and intervals, box plots, and what so many cases can show at all."
    )
    parser.add_argument(
        "folders", type=Path, nargs="+", metavar="DIR", help="predictions of a model; the first is compared with"
    )
    parser.add_argument("--references", type=Path, required=True, metavar="DIR", help="a label map per case")
    _add_scoring(parser)
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="folder to make, with a page and tables")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it holds an earlier comparison")
    parser.set_defaults(command=_compare_models)


def _compare_models(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.model_comparison import compare_models, write_comparison
    from GliomaSegLib.io.folder import check_output
    from GliomaSegLib.terminal import progress_for_stderr

    if parsed.output:
        check_output(parsed.output, parsed.overwrite)
    schemes, how = (LabelScheme(parsed.prediction_scheme), LabelScheme(parsed.scheme)), _how(parsed)
    with progress_for_stderr() as progress:
        compared = compare_models(parsed.folders, parsed.references, *schemes, how, progress)
    print(compared.to_text(), file=output)
    if parsed.output:
        print(write_comparison(parsed.output, compared, parsed.overwrite), file=output)
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
