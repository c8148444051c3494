"""``gliomaseg review``: records what a reviewer decided about a folder of results."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.options import ReviewState


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg review``."""
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    parser.add_argument("--state", required=True, choices=ReviewState.decisions())
    parser.add_argument("--by", required=True, metavar="NAME", help="who reviewed it")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Record the review; the exit status."""
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.job import Review
    from GliomaSegLib.perform import perform

    request = Review(output=parsed.output, state=ReviewState(parsed.state), by=parsed.by)
    with progress_for_stderr() as progress:
        result = perform(request, progress)
    if parsed.json:
        print(result.model_dump_json(indent=2), file=output)
    else:
        last = result.reviews[-1]
        print(f"{result.case_id}: {last.state.value} by {last.by}, {last.when}", file=output)
    return 0
