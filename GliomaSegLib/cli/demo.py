"""``gliomaseg demo``: segments a phantom whose labels are known, and compares the result with them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli.arguments import add_store
from GliomaSegLib.cli.result import print_result


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg demo``."""
    parser.add_argument("-o", "--output", type=Path, default=Path("demo-output"), metavar="OUT")
    add_store(parser)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Run the demonstration; the exit status, which is 1 when a region was segmented worse than it should be."""
    from GliomaSegLib.cli.arguments import chosen_store
    from GliomaSegLib.cli.demonstration import demonstrate
    from GliomaSegLib.terminal import progress_for_stderr

    with progress_for_stderr() as progress:
        demonstration = demonstrate(parsed.output, chosen_store(parsed), progress)
    print_result(demonstration.result, False, output)
    print(demonstration.verdict, file=output)
    return 0 if demonstration.passed else 1
