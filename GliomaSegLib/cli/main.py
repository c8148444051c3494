"""The command line: ``gliomaseg COMMAND``. Every command is a module that adds its own arguments and runs.

A command parses, calls the library and prints; it computes nothing. Heavy imports happen when it runs, so that
``--help`` answers at once. Results go to standard output, progress and errors to standard error; with ``--json`` there
is nothing else on standard output.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from GliomaSegLib import NOTICE
from GliomaSegLib.cli import (
    agree,
    batch,
    compare,
    demo,
    evaluate,
    exams,
    experiment,
    export,
    models,
    residual,
    result,
    review,
    segment,
    serve,
    train,
    worker,
)
from GliomaSegLib.cli.process import cancel_when_terminated, results_only_on_stdout
from GliomaSegLib.errors import Cancelled, GliomaSegError

FAILED = 1
INTERRUPTED = 130

_COMMANDS = (
    ("segment", segment, "segment a study"),
    ("batch", batch, "segment many cases, on one machine or many"),
    ("models", models, "list, show, install, verify, remove, add and pack models"),
    ("evaluate", evaluate, "compare segmentations with the truth"),
    ("evaluate-residual", residual, "compare residual tumour after surgery with references, over folds"),
    ("measure", result, "print the measures after an edit of a result"),
    ("report", result, "draw the report again after an edit of a result"),
    ("review", review, "record that a result was reviewed, by whom and when"),
    ("train", train, "train a network by a recipe"),
    ("experiment", experiment, "what missing sequences and other hospitals cost"),
    ("compare", compare, "compare studies of one patient: resection, lesions, response"),
    ("agree", agree, "how far readers agree, and their consensus"),
    ("export", export, "write a result as DICOM SEG, RTSTRUCT and SR"),
    ("exams", exams, "list the exams in a folder of DICOM, and what is incomplete"),
    ("serve", serve, "a DICOM node: studies in, answers out"),
    ("worker", worker, "run job files for another program, with progress as JSON lines"),
    ("demo", demo, "segment a phantom study whose truth is known"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0 when it succeeded, 1 with one sentence on standard error when something that was given
        cannot be used, 2 for a wrong command line, 130 when it was interrupted.
    """
    parsed = _parser().parse_args(arguments)
    cancel_when_terminated()
    try:
        with results_only_on_stdout() as output:
            return parsed.command(parsed, output)
    except (KeyboardInterrupt, Cancelled):
        print("gliomaseg: stopped; nothing half-written is left.", file=sys.stderr)
        return INTERRUPTED
    except GliomaSegError as error:
        print(f"gliomaseg: {error}", file=sys.stderr)
        return FAILED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gliomaseg",
        description="A clinical brain MRI study in; a measured tumour segmentation out.",
        epilog=NOTICE,
    )
    parser.add_argument("--version", action="version", version=f"gliomaseg {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module, purpose in _COMMANDS:
        module.add_arguments(commands.add_parser(name, help=purpose, epilog=NOTICE))
    return parser


def _version() -> str:
    try:
        return version("GliomaSeg")
    except PackageNotFoundError:
        return "from source, not installed"


if __name__ == "__main__":
    sys.exit(main())
