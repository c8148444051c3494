"""The command line, ``gliomaseg COMMAND``: collects the arguments of all commands and runs one of them.

A command parses, calls the library and prints; it computes nothing. Heavy imports happen when it runs, so that
``--help`` answers at once. Results go to standard output, progress and errors to standard error; with ``--json`` there
is nothing else on standard output.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.cli import (
    batch,
    compare,
    demo,
    evaluate,
    exams,
    experiment,
    export,
    models,
    report,
    result,
    segment,
    serve,
    train,
    worker,
)
from GliomaSegLib.errors import Cancelled, GliomaSegError, of_the_machine, printable

FAILED = 1
INTERRUPTED = 130

_COMMANDS = (
    ("segment", segment.add_arguments, "segment a study"),
    ("batch", batch.add_arguments, "segment many cases, on one machine or many"),
    ("models", models.add_arguments, "list, show, install, verify, remove, add and pack models"),
    ("evaluate", evaluate.add_arguments, "compare segmentations with references"),
    ("compare-models", evaluate.add_models_arguments, "compare models on predictions that exist already"),
    ("evaluate-residual", evaluate.add_residual_arguments, "compare residual tumour with references, over folds"),
    ("measure", result.add_arguments, "print the measures after an edit of a result"),
    ("report", report.add_arguments, "draw the report again after an edit of a result, or one to give away"),
    ("figure", report.add_figure_arguments, "draw a picture of a result for talks and papers"),
    ("review", result.add_review_arguments, "record that a result was reviewed, by whom and when"),
    ("train", train.add_arguments, "train a network by a recipe"),
    ("experiment", experiment.add_arguments, "what missing sequences and other hospitals cost"),
    ("compare", compare.add_arguments, "compare studies of one patient: resection, lesions, response"),
    ("agree", evaluate.add_agreement_arguments, "how far readers agree, and their consensus"),
    ("export", export.add_arguments, "write a result as DICOM SEG, RTSTRUCT and SR"),
    ("exams", exams.add_arguments, "list the exams in a folder of DICOM, and what is incomplete"),
    ("serve", serve.add_arguments, "a DICOM node: studies in, answers out"),
    ("worker", worker.add_arguments, "run job files for another program, with progress as JSON lines"),
    ("demo", demo.add_arguments, "segment a phantom study whose labels are known"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        the exit status: 0 when it succeeded, 1 with one sentence on standard error when something that was given
        cannot be used, 2 for a wrong command line, 130 when it was interrupted.
    """
    _open_closed_streams()
    parsed = _parser().parse_args(arguments)
    cancel_when_terminated()
    try:
        with results_only_on_stdout() as output:
            return parsed.command(parsed, output)
    except (KeyboardInterrupt, Cancelled):
        print("gliomaseg: stopped; nothing half-written is left.", file=sys.stderr)
        return INTERRUPTED
    except GliomaSegError as error:
        print(f"gliomaseg: {printable(error)}", file=sys.stderr)
        return FAILED
    except BrokenPipeError:  # the reader of the output has closed it, as 'head' does
        return FAILED
    except (OSError, MemoryError) as error:
        print(f"gliomaseg: {printable(of_the_machine(error))}", file=sys.stderr)
        return FAILED


def cancel_when_terminated() -> None:
    """Let SIGTERM raise :class:`~GliomaSegLib.errors.Cancelled` in the main thread, so that the command cleans up."""

    def cancel(signal_number: int, frame: object) -> None:
        raise Cancelled("The process was told to stop.")

    signal.signal(signal.SIGTERM, cancel)


def _open_closed_streams() -> None:
    """Open the null device for standard streams that the process was started without: otherwise a file that is opened
    later would become its standard output, and be written into."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free file descriptor, which is this one
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", closefd=False))


@contextlib.contextmanager
def results_only_on_stdout() -> Iterator[TextIO]:
    """Yield the real standard output; whatever libraries print meanwhile, in C too, goes to standard error."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    try:
        with os.fdopen(real, "w", encoding="utf-8", closefd=False) as output, contextlib.redirect_stdout(sys.stderr):
            yield output
    finally:
        with contextlib.suppress(OSError, TypeError):  # not possible on Windows
            ctypes.CDLL(None).fflush(None)  # else C's buffered output would follow the results
        os.dup2(real, 1)
        os.close(real)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="gliomaseg",
        description="A clinical brain MRI study in; a measured tumour segmentation out.",
        epilog=NOTICE,
    )
    parser.add_argument("--version", action="version", version=f"gliomaseg {_version()}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, add_arguments, purpose in _COMMANDS:
        add_arguments(commands.add_parser(name, help=purpose, epilog=NOTICE))
    return parser


def _version() -> str:
    try:
        return version("GliomaSeg")
    except PackageNotFoundError:
        return "from source, not installed"


if __name__ == "__main__":
    sys.exit(main())
