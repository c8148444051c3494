"""``gliomaseg worker``: performs requests for another program; see :mod:`GliomaSegLib.worker.server`."""

from __future__ import annotations

import argparse
from typing import TextIO


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg worker``."""
    parser.add_argument("job", metavar="JOB", help="a job file, or - for one request per line of standard input")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Perform the requests; the exit status, which is 1 when one of them failed."""
    from GliomaSegLib.worker.server import work

    return int(work(parsed.job, output) > 0)
