"""``gliomaseg measure``, ``report`` and ``review``: results brought up to date after an edit, or reviewed."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.cli.arguments import add_json
from GliomaSegLib.options import ReviewState

if TYPE_CHECKING:
    from GliomaSegLib.results.job_result import JobResult


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg measure`` and ``gliomaseg report``."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    add_json(parser, "print the result as JSON")
    parser.set_defaults(command=_measure)


def _measure(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.terminal import perform_with_progress
    from GliomaSegLib.job import Measure

    result = perform_with_progress(Measure(output=parsed.output))
    print_result(result, parsed.json, output)
    return 0


def add_review_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg review``."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    parser.add_argument("--state", required=True, choices=ReviewState.decisions())
    parser.add_argument("--by", required=True, metavar="NAME", help="who reviewed it")
    add_json(parser, "print the result as JSON")
    parser.set_defaults(command=_review)


def _review(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.terminal import perform_with_progress
    from GliomaSegLib.job import Review

    review = {"output": parsed.output, "state": ReviewState(parsed.state), "by": parsed.by}
    result = perform_with_progress(Review.model_validate(review))
    if parsed.json:
        print(result.model_dump_json(indent=2), file=output)
    else:
        last = result.reviews[-1]
        print(f"{result.case_id}: {last.state.value} by {last.by}, {last.when}", file=output)
    return 0


def print_result(result: JobResult, as_json: bool, output: TextIO) -> None:
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
