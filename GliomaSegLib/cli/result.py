"""``gliomaseg measure`` and ``gliomaseg report``: a folder of results brought up to date after an edit, and printed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib import NOTICE

if TYPE_CHECKING:
    from GliomaSegLib.job import Result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of both commands."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Measure and draw the report again; the exit status."""
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.job import Measure
    from GliomaSegLib.perform import perform

    with progress_for_stderr() as progress:
        result = perform(Measure(output=parsed.output), progress)
    print_result(result, parsed.json, output)
    return 0


def print_result(result: Result, as_json: bool, output: TextIO) -> None:
    """Print what a run has made: volumes in mL and where the report is, or all of it as JSON."""
    if as_json:
        print(result.model_dump_json(indent=2), file=output)
        return
    print(f"{result.case_id}: {result.model}", file=output)
    for sentence in (result.choice, result.training):
        if sentence:
            print(sentence, file=output)
    for volume in result.measures.volumes:
        share = f"  {100 * volume.brain_ratio:5.1f} % of the brain" if volume.brain_ratio is not None else ""
        print(f"  {volume.name:<5}{volume.volume_ml:9.2f} mL{share}", file=output)
    if result.cost:
        print(result.cost, file=output)
    print(f"Report: {result.files['report']}", file=output)
    print(NOTICE, file=output)
