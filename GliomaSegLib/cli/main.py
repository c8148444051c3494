"""The command line: ``gliomaseg COMMAND``. It parses, calls the library and prints; it computes nothing.

Heavy imports happen inside the commands, so that ``--help`` answers at once. Results go to standard output, progress
and errors to standard error; with ``--json`` there is nothing else on standard output.
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
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.case import TimePointKind
from GliomaSegLib.cli import batch, experiment, models
from GliomaSegLib.cli import compare as followup
from GliomaSegLib.cli import export as dicom_out
from GliomaSegLib.cli import serve as node
from GliomaSegLib.cli import train as training
from GliomaSegLib.errors import Cancelled, GliomaSegError, InputError
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.options import AUTO, BrainMethod, Precision, ReviewState

if TYPE_CHECKING:
    from GliomaSegLib.job import Job, Result

FAILED = 1
INTERRUPTED = 130

_SEQUENCES = models.SEQUENCES

# The numberings in which a whole segmentation can be written.
_WRITTEN_SCHEMES = (LabelScheme.GLIOMASEG.value, LabelScheme.BRATS2017.value)


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


def cancel_when_terminated() -> None:
    """Let a request to terminate the process end what runs, so that it clears up after itself."""

    def cancel(signal_number: int, frame: object) -> None:
        raise Cancelled("The process was told to stop.")

    signal.signal(signal.SIGTERM, cancel)


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
        with contextlib.suppress(OSError, TypeError):  # Windows has no such library of the process itself
            ctypes.CDLL(None).fflush(None)  # what C holds back must not come out after the results
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
    _add_segment(commands.add_parser("segment", help="segment a study", epilog=NOTICE))
    _add_batch(commands.add_parser("batch", help="segment many cases, on one machine or many", epilog=NOTICE))
    models.add_arguments(commands.add_parser("models", help="list, show, install, verify, remove, add and pack models"))
    _add_evaluate(commands.add_parser("evaluate", help="compare segmentations with the truth"))
    for name, what in (("measure", "print the measures"), ("report", "draw the report again")):
        refresh = commands.add_parser(name, help=f"{what} after an edit of a result")
        refresh.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
        refresh.add_argument("--json", action="store_true", help="print the result as JSON")
        refresh.set_defaults(command=_refresh)
    review = commands.add_parser("review", help="record that a result was reviewed, by whom and when")
    review.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    review.add_argument("--state", required=True, choices=ReviewState.decisions())
    review.add_argument("--by", required=True, metavar="NAME", help="who reviewed it")
    review.add_argument("--json", action="store_true", help="print the result as JSON")
    review.set_defaults(command=_review)
    training.add_arguments(commands.add_parser("train", help="train a network by a recipe"))
    experiment.add_arguments(commands.add_parser("experiment", help="what missing sequences and other hospitals cost"))
    followup.add_compare(
        commands.add_parser("compare", help="compare studies of one patient: resection, lesions, response")
    )
    followup.add_agree(commands.add_parser("agree", help="how far readers agree, and their consensus"))
    dicom_out.add_arguments(commands.add_parser("export", help="write a result as DICOM SEG, RTSTRUCT and SR"))
    _add_exams(commands.add_parser("exams", help="list the exams in a folder of DICOM, and what is incomplete"))
    node.add_arguments(commands.add_parser("serve", help="a DICOM node: studies in, answers out", epilog=NOTICE))
    worker = commands.add_parser("worker", help="run job files for another program, telling progress as JSON lines")
    worker.add_argument("job", metavar="JOB", help="a job file, or - for one request per line of standard input")
    worker.set_defaults(command=_work)
    demo = commands.add_parser("demo", help="segment a phantom study whose truth is known")
    demo.add_argument("-o", "--output", type=Path, default=Path("demo-output"), metavar="OUT")
    models.add_store(demo)
    demo.set_defaults(command=_demo)
    return parser


def _version() -> str:
    try:
        return version("GliomaSeg")
    except PackageNotFoundError:
        return "from source, not installed"


def _add_segment(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("study", type=Path, nargs="?", metavar="STUDY", help="folder of image files or DICOM series")
    parser.add_argument("--exam", metavar="E", help="of several DICOM exams this one: date or UID (see 'exams')")
    for sequence, title in _SEQUENCES.items():
        parser.add_argument(f"--{sequence}", type=Path, metavar="F", help=f"the {title} image, if not found by itself")
    parser.add_argument("--without", action="append", default=[], choices=_SEQUENCES, help="do without it (repeatable)")
    parser.add_argument(
        "--transform", action="append", default=[], type=_named_file, metavar="SEQUENCE=F",
        help="rigid ITK transform from the reference to that sequence (LPS), instead of registering it (repeatable)",
    )  # fmt: skip
    models.add_choice(parser)
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it holds earlier results")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    models.add_store(parser)
    case = parser.add_argument_group("the case")
    case.add_argument("--case-id", metavar="NAME", help="how the case is called in the results")
    case.add_argument("--time-point", choices=[kind.value for kind in TimePointKind], default="unknown")
    case.add_argument("--days-since-surgery", type=float, metavar="DAYS", help="of a post-operative study")
    case.add_argument(
        "--preoperative", type=Path, metavar="PRE",
        help="the study before surgery, for models that take it: a folder that 'segment' made, or its T1 + contrast",
    )  # fmt: skip
    case.add_argument("--preoperative-mask", type=Path, metavar="F", help="the tumour on that image (a label file)")
    models.add_purpose(case)
    _add_steps(parser)
    cleaning = parser.add_argument_group("cleaning of the labels, instead of what the model's card says; 0 is none")
    cleaning.add_argument("--fill-holes-mm3", type=float, metavar="V", help="fill holes smaller than this")
    cleaning.add_argument("--remove-islands", type=float, metavar="F", help="remove islands of less than this share")
    cleaning.add_argument("--remove-objects-mm3", type=float, metavar="V", help="remove pieces smaller than this")
    _add_machine(parser)
    parser.set_defaults(command=_segment)


def _add_batch(parser: argparse.ArgumentParser) -> None:
    batch.add_arguments(parser)
    models.add_store(parser)
    _add_steps(parser)
    _add_machine(parser)
    parser.set_defaults(command=lambda parsed, output: batch.run(parsed, _how(parsed), output))


def _add_steps(parser: argparse.ArgumentParser) -> None:
    steps = parser.add_argument_group("the steps")
    steps.add_argument("--no-registration", action="store_true", help="the sequences are known to lie in place")
    steps.add_argument(
        "--brain", choices=BrainMethod.values(), default="deepbet", help="brain extraction (default: %(default)s)"
    )
    steps.add_argument("--n4", action="store_true", help="correct the bias field")
    steps.add_argument("--seed", type=int, default=1, help="of the random numbers that some networks need")
    steps.add_argument("--label-scheme", choices=_WRITTEN_SCHEMES, default="gliomaseg")
    steps.add_argument("--no-probabilities", action="store_true", help="do not write probability maps")


def _add_machine(parser: argparse.ArgumentParser) -> None:
    machine = parser.add_argument_group("the machine")
    machine.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda, cuda:1 (and so on) or mps")
    machine.add_argument("--precision", choices=Precision.values(), default="auto", help="of the network")
    machine.add_argument("--threads", type=int, metavar="N")


def _named_file(text: str) -> tuple[str, Path]:
    sequence, _, path = text.partition("=")
    if sequence not in _SEQUENCES or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not a sequence ({', '.join(_SEQUENCES)}), '=' and a file")
    return sequence, Path(path)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.description = "Dice, HD95 and sensitivity per region, one pair of files after the other."
    parser.add_argument("files", type=Path, nargs="+", metavar="PRED TRUTH", help="files, or for PRED a result folder")
    schemes = [scheme.value for scheme in LabelScheme]
    parser.add_argument("--scheme", required=True, choices=schemes, help="numbering of TRUTH")
    parser.add_argument("--prediction-scheme", choices=schemes, default="gliomaseg", help="numbering of PRED")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.add_argument("--csv", type=Path, metavar="F", help="also write a row per case and region")
    parser.set_defaults(command=_evaluate)


def _add_exams(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "The exams in a folder of DICOM, by patient and date, with the series that would be taken for each sequence, "
        "and those that are incomplete."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(command=_list_exams)


def _list_exams(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.study.exam_list import list_exams, to_json, to_text

    rows = list_exams(parsed.folder)
    print(to_json(rows) if parsed.json else to_text(rows, parsed.folder), file=output)
    return 0


def _segment(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.pipeline.run import run

    with progress_for_stderr() as progress:
        result = run(_job(parsed), progress)
    _print_result(result, parsed.json, output)
    return 0


def _job(parsed: argparse.Namespace) -> Job:
    from GliomaSegLib.job import new_job

    named = {sequence: getattr(parsed, sequence) for sequence in _SEQUENCES}
    return new_job(
        study=parsed.study,
        exam=parsed.exam,
        volumes={sequence: path for sequence, path in named.items() if path},
        leave_out=parsed.without,
        transforms=dict(parsed.transform),
        model=parsed.model,
        task=parsed.task,
        output=parsed.output,
        case_id=parsed.case_id,
        time_point=parsed.time_point,
        days_since_surgery=parsed.days_since_surgery,
        preoperative=parsed.preoperative,
        preoperative_mask=parsed.preoperative_mask,
        purpose=parsed.purpose,
        postprocessing=_postprocessing(parsed),
        overwrite=parsed.overwrite,
        **_how(parsed),
    )


def _how(parsed: argparse.Namespace) -> dict[str, Any]:
    """The fields of a job that do not depend on its case."""
    return {
        "registration": not parsed.no_registration,
        "brain": parsed.brain,
        "bias_correction": parsed.n4,
        "seed": parsed.seed,
        "probabilities": not parsed.no_probabilities,
        "label_scheme": parsed.label_scheme,
        "device": parsed.device,
        "precision": parsed.precision,
        "threads": parsed.threads,
        "store": parsed.store,
    }


def _postprocessing(parsed: argparse.Namespace) -> dict[str, float] | None:
    """What the card does, with the user's numbers instead of its own; ``None`` when none was given."""
    wishes = {
        "fill_holes_below_mm3": parsed.fill_holes_mm3,
        "remove_islands_below_fraction": parsed.remove_islands,
        "remove_objects_below_mm3": parsed.remove_objects_mm3,
    }
    given = {step: wish for step, wish in wishes.items() if wish is not None}
    if not given:
        return None
    from GliomaSegLib.zoo.card import find_card

    if parsed.model == AUTO:
        raise InputError("Name the model with --model where its cleaning is to be changed; each model has its own.")
    return find_card(parsed.model, parsed.store).postprocessing.model_dump() | given


def _print_result(result: Result, as_json: bool, output: TextIO) -> None:
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


def _refresh(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.results.update import refresh

    with progress_for_stderr() as progress:
        result = refresh(parsed.output, progress)
    _print_result(result, parsed.json, output)
    return 0


def _review(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.results.update import review

    with progress_for_stderr() as progress:
        result = review(parsed.output, parsed.state, parsed.by, progress)
    if parsed.json:
        print(result.model_dump_json(indent=2), file=output)
    else:
        last = result.reviews[-1]
        print(f"{result.case_id}: {last.state.value} by {last.by}, {last.when}", file=output)
    return 0


def _work(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.worker.serve import work

    return FAILED if work(parsed.job, output) else 0


def _demo(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.cli.demo import demonstrate
    from GliomaSegLib.cli.terminal import progress_for_stderr

    with progress_for_stderr() as progress:
        demonstration = demonstrate(parsed.output, models.chosen_store(parsed), progress)
    _print_result(demonstration.result, False, output)
    print(demonstration.verdict, file=output)
    return 0 if demonstration.passed else FAILED


def _evaluate(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.evaluation.files import compare_files

    comparison = compare_files(parsed.files, parsed.prediction_scheme, parsed.scheme)
    if parsed.csv:
        comparison.write_csv(parsed.csv)
    print(comparison.to_json() if parsed.json else comparison.to_text(), file=output)
    return 0


if __name__ == "__main__":
    sys.exit(main())
