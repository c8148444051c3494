"""``gliomaseg agree``: how far readers of the same studies agree, and their consensus."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import SCHEMES
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Consensus


def add_arguments(parser: argparse.ArgumentParser) -> None:
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
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Compare the readings; the exit status."""
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
