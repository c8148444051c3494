"""``gliomaseg segment``: segments one study."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.cli.arguments import (
    SEQUENCES,
    TIME_POINTS,
    add_choice,
    add_json,
    add_output,
    add_processing,
    add_purpose,
    add_store,
    fields_of,
    processing_fields,
)
from GliomaSegLib.cli.result import print_result
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import AUTO

if TYPE_CHECKING:
    from GliomaSegLib.job import Job


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg segment``."""
    parser.add_argument("study", type=Path, nargs="?", metavar="STUDY", help="folder of image files or DICOM series")
    parser.add_argument("--exam", metavar="E", help="of several DICOM exams this one: date or UID (see 'exams')")
    for sequence, title in SEQUENCES.items():
        parser.add_argument(f"--{sequence}", type=Path, metavar="F", help=f"the {title} image, if not found by itself")
    parser.add_argument("--without", action="append", default=[], choices=SEQUENCES, help="do without it (repeatable)")
    parser.add_argument(
        "--transform", action="append", default=[], type=_named_file, metavar="SEQUENCE=F",
        help="rigid ITK transform from the reference to that sequence (LPS), instead of registering it (repeatable)",
    )  # fmt: skip
    add_choice(parser)
    add_output(parser)
    add_json(parser, "print the result as JSON")
    parser.add_argument("--profile", action="store_true", help="show the seconds and memory of each stage at the end")
    add_store(parser)
    case = parser.add_argument_group("the case")
    case.add_argument("--case-id", metavar="NAME", help="how the case is called in the results")
    case.add_argument("--time-point", choices=TIME_POINTS, default="unknown")
    case.add_argument("--days-since-surgery", type=float, metavar="DAYS", help="of a post-operative study")
    case.add_argument(
        "--preoperative", type=Path, metavar="PRE",
        help="the study before surgery, for models that take it: a folder that 'segment' made, or its T1 + contrast",
    )  # fmt: skip
    case.add_argument("--preoperative-mask", type=Path, metavar="F", help="the tumour on that image (a label file)")
    add_purpose(case)
    cleaning = parser.add_argument_group("cleaning of the labels, instead of what the model's card says; 0 is none")
    cleaning.add_argument("--fill-holes-mm3", type=float, metavar="V", help="fill holes smaller than this")
    cleaning.add_argument("--remove-islands", type=float, metavar="F", help="remove islands of less than this share")
    cleaning.add_argument("--remove-objects-mm3", type=float, metavar="V", help="remove pieces smaller than this")
    add_processing(parser)
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Segment the study; the exit status."""
    from GliomaSegLib.cli.terminal import perform_with_progress

    print_result(perform_with_progress(_job(parsed), parsed.profile), parsed.json, output)
    return 0


def _job(parsed: argparse.Namespace) -> Job:
    from GliomaSegLib.job import new_job

    named = {sequence: getattr(parsed, sequence) for sequence in SEQUENCES}
    return new_job(
        volumes={sequence: path for sequence, path in named.items() if path},
        leave_out=parsed.without,
        transforms=dict(parsed.transform),
        postprocessing=_postprocessing(parsed),
        **fields_of(parsed, "study", "exam", "model", "task", "output", "overwrite", "case_id", "time_point"),
        **fields_of(parsed, "days_since_surgery", "preoperative", "preoperative_mask", "purpose"),
        **processing_fields(parsed),
    )


def _named_file(text: str) -> tuple[str, Path]:
    sequence, _, path = text.partition("=")
    if sequence not in SEQUENCES or not path:
        raise argparse.ArgumentTypeError(f"'{text}' is not a sequence ({', '.join(SEQUENCES)}), '=' and a file")
    return sequence, Path(path)


def _postprocessing(parsed: argparse.Namespace) -> dict[str, float] | None:
    """The card's postprocessing with the user's numbers in it; ``None`` when the user gave none."""
    wishes = {
        "fill_holes_below_mm3": parsed.fill_holes_mm3,
        "remove_islands_below_fraction": parsed.remove_islands,
        "remove_objects_below_mm3": parsed.remove_objects_mm3,
    }
    given = {step: wish for step, wish in wishes.items() if wish is not None}
    if not given:
        return None
    from GliomaSegLib.zoo.catalogue import find_card

    if parsed.model == AUTO:
        raise InputError("Name the model with --model where its cleaning is to be changed; each model has its own.")
    return dataclasses.asdict(find_card(parsed.model, parsed.store).postprocessing) | given
