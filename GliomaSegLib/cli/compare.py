"""``gliomaseg compare``: compares several studies of one patient."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.cli.arguments import SCHEMES, add_json, add_output, fields_of
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme
from GliomaSegLib.options import Surgery, Tumour

if TYPE_CHECKING:
    from GliomaSegLib.job import ComparedStudy


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg compare``."""
    parser.description = (
        "Compare studies of one patient: residual tumour and extent of resection after surgery, every lesion from one "
        "study to the next, response to treatment. A study is a folder that 'segment' made, or a label file with its "
        "scan."
    )
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="in the order in which they were made")
    add_output(parser)
    parser.add_argument(
        "--when", action="append", default=[], metavar="TIME",
        help="preoperative, postoperative, postoperative:DAYS after surgery, or unknown; once per study, in order",
    )  # fmt: skip
    parser.add_argument(
        "--date", action="append", default=[], metavar="YYYY-MM-DD", help="date of a study; once per study, in order"
    )
    response = parser.add_argument_group("response to treatment (asked for on the page where it is not known)")
    response.add_argument(
        "--radiotherapy-end", metavar="DATE",
        help="response is judged against the first study after it; a date, days after surgery, or 'none'",
    )  # fmt: skip
    response.add_argument("--baseline", type=int, action="append", metavar="N", help="judge it against the N-th study")
    response.add_argument(
        "--tumour",
        choices=Tumour.values(),
        help="whose criteria: RANO 2010 and 2.0, or RANO-BM (default: by the model)",
    )
    response.add_argument("--surgery", choices=Surgery.values(), help="what the last operation was")
    parser.add_argument("--no-registration", action="store_true", help="the studies are known to be co-registered")
    parser.add_argument("--in-place", dest="no_registration", action="store_true", help=argparse.SUPPRESS)  # until 0.3
    parser.add_argument(
        "--deformable", action="store_true",
        help="match lesions after a deformation too (diffeomorphic demons); volumes are those before it",
    )  # fmt: skip
    add_json(parser)
    files = parser.add_argument_group("studies that are label files")
    files.add_argument("--image", action="append", default=[], type=Path, metavar="F", help="its scan; once per file")
    files.add_argument("--scheme", choices=SCHEMES, default="gliomaseg", help="numbering of the label files")
    parser.set_defaults(command=run)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Compare the studies and write the page; the exit status."""
    from GliomaSegLib.cli.terminal import perform_with_progress
    from GliomaSegLib.job import Compare

    request = Compare(
        studies=tuple(_studies(parsed)),
        in_place=parsed.no_registration,
        baseline=_position(parsed),
        **fields_of(parsed, "output", "overwrite", "deformable", "radiotherapy_end", "tumour", "surgery"),
    )
    compared = perform_with_progress(request)
    if parsed.json:
        print(compared.comparison.model_dump_json(indent=2), file=output)
        return 0
    for sentence in compared.comparison.answers:
        print(sentence, file=output)
    for question in compared.comparison.questions:
        print(f"Open question: {question.text} Answer with {question.option}.", file=output)
    print(f"Page: {compared.page}", file=output)
    print(NOTICE, file=output)
    return 0


def _studies(parsed: argparse.Namespace) -> list[ComparedStudy]:
    from GliomaSegLib.job import ComparedStudy

    images = iter(parsed.image)
    files = [path for path in parsed.studies if not path.is_dir()]
    if parsed.image and len(parsed.image) != len(files):
        raise InputError(f"{len(parsed.image)} scans are given for {len(files)} label files; give one of each.")
    times = [_time_point(text) for text in _per_study(parsed.when, "--when", parsed)]
    days = [_day(text) for text in _per_study(parsed.date, "--date", parsed)]
    return [
        ComparedStudy(
            path=path, image=None if path.is_dir() else next(images, None), scheme=LabelScheme(parsed.scheme),
            date=day, **when,
        )
        for path, when, day in zip(parsed.studies, times, days, strict=True)
    ]  # fmt: skip


def _per_study(given: list[str], option: str, parsed: argparse.Namespace) -> list[str | None]:
    if given and len(given) != len(parsed.studies):
        raise InputError(f"'{option}' is given {len(given)} times for {len(parsed.studies)} studies; once for each.")
    return list(given) or [None] * len(parsed.studies)


def _time_point(text: str | None) -> dict[str, Any]:
    """``time_point`` and ``days_since_surgery`` of a study."""
    from GliomaSegLib.case import TimePointKind

    if text is None:
        return {}
    kind, _, days = text.partition(":")
    try:
        return {"time_point": TimePointKind(kind), "days_since_surgery": float(days) if days else None}
    except ValueError as error:
        raise InputError(
            f"'--when {text}' is not preoperative, postoperative, postoperative:DAYS or unknown."
        ) from error


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"'--date {text}' is not a date such as 2024-03-31.") from error


def _position(parsed: argparse.Namespace) -> int | None:
    """The baseline's position, from 0."""
    if parsed.baseline is None:
        return None
    if len(parsed.baseline) > 1:
        raise InputError(f"'--baseline' is given {len(parsed.baseline)} times; response has one baseline.")
    (number,) = parsed.baseline
    if number < 1:
        raise InputError(f"'--baseline {number}' is no study; the first one is 1.")
    return number - 1
