"""``gliomaseg compare`` and ``gliomaseg agree``: several studies of one patient, several readers of one study."""

from __future__ import annotations

import argparse
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import LabelScheme, Region
from GliomaSegLib.options import Consensus

if TYPE_CHECKING:
    from GliomaSegLib.case import TimePoint
    from GliomaSegLib.results.time_point import Exam

_SCHEMES = [scheme.value for scheme in LabelScheme]


def add_compare(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg compare``."""
    parser.description = (
        "Compare studies of one patient: residual tumour and extent of resection after surgery, every lesion from one "
        "study to the next, response to treatment. A study is a folder that 'segment' made, or a label file with its "
        "scan."
    )
    parser.add_argument("studies", type=Path, nargs="+", metavar="STUDY", help="in the order in which they were made")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="folder to make")
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it holds earlier results")
    parser.add_argument(
        "--when", action="append", default=[], metavar="TIME",
        help="preoperative, postoperative, postoperative:DAYS after surgery, or unknown; once per study, in order",
    )  # fmt: skip
    parser.add_argument(
        "--date", action="append", default=[], metavar="YYYY-MM-DD", help="date of a study; once per study, in order"
    )
    parser.add_argument("--baseline", type=int, metavar="N", help="response is judged against the N-th study")
    parser.add_argument("--in-place", action="store_true", help="all lie in one space already: no registration")
    parser.add_argument(
        "--deformable", action="store_true",
        help="match lesions after a deformation too (diffeomorphic demons); volumes are those before it",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print as JSON")
    files = parser.add_argument_group("studies that are label files")
    files.add_argument("--image", action="append", default=[], type=Path, metavar="F", help="its scan; once per file")
    files.add_argument("--scheme", choices=_SCHEMES, default="gliomaseg", help="numbering of the label files")
    parser.set_defaults(command=run_compare)


def add_agree(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg agree``."""
    parser.description = (
        "How far readers agree: label files of one case, or a table (CSV) with the columns case, reader, file, and if "
        "need be assisted (yes or no) and seconds. With three or more readers who have drawn the same cases by hand "
        "and assisted, also each of them against the others, after Shirokikh 2019."
    )
    parser.add_argument("readings", type=Path, nargs="+", metavar="FILE", help="two or more files, or one table")
    parser.add_argument("--region", choices=[region.value for region in Region], default="WT")
    parser.add_argument("--scheme", choices=_SCHEMES, default="gliomaseg", help="numbering of the label files")
    parser.add_argument("--consensus", choices=Consensus.values(), default="majority")
    parser.add_argument("--tolerance", type=float, default=1.0, metavar="MM", help="of the surface Dice (default 1)")
    parser.add_argument("--write-consensus", type=Path, metavar="F", help="write the consensus of one case as a mask")
    parser.add_argument("--json", action="store_true", help="print as JSON")
    parser.set_defaults(command=run_agree)


def run_compare(parsed: argparse.Namespace, output: TextIO) -> int:
    """Compare the studies and write the page; the exit status."""
    from GliomaSegLib.cli.terminal import progress_for_stderr
    from GliomaSegLib.followup.compare import compare
    from GliomaSegLib.followup.page import write_comparison
    from GliomaSegLib.io.folder import check_output

    check_output(parsed.output, parsed.overwrite)
    exams = _exams(parsed)
    baseline = None if parsed.baseline is None else parsed.baseline - 1
    with progress_for_stderr() as progress:
        aligned = compare(exams, parsed.in_place, baseline, progress, parsed.deformable)
        page = write_comparison(parsed.output, aligned, parsed.overwrite)
    if parsed.json:
        print(aligned.comparison.model_dump_json(indent=2), file=output)
        return 0
    for sentence in aligned.comparison.answers:
        print(sentence, file=output)
    print(f"Page: {page}", file=output)
    print(NOTICE, file=output)
    return 0


def run_agree(parsed: argparse.Namespace, output: TextIO) -> int:
    """Compare the readings; the exit status."""
    from GliomaSegLib.evaluation.readings import Reading, compare_readings, read_consensus, read_readings, to_text
    from GliomaSegLib.io.images import write_image

    if len(parsed.readings) == 1:
        readings = read_readings(parsed.readings[0])
    else:
        readings = [Reading("the case", str(path), path) for path in parsed.readings]
    region, scheme, how = Region(parsed.region), LabelScheme(parsed.scheme), Consensus(parsed.consensus)
    result = compare_readings(readings, region, scheme, how, parsed.tolerance)
    if parsed.write_consensus:
        if len(result.cases) > 1:
            raise InputError("A consensus is written of the readings of one case; give them as files.")
        write_image(read_consensus(readings, region, scheme, how), parsed.write_consensus)
    print(result.model_dump_json(indent=2) if parsed.json else to_text(result), file=output)
    return 0


def _exams(parsed: argparse.Namespace) -> list[Exam]:
    from GliomaSegLib.results.time_point import read_exam

    images = iter(parsed.image)
    files = [path for path in parsed.studies if not path.is_dir()]
    if parsed.image and len(parsed.image) != len(files):
        raise InputError(f"{len(parsed.image)} scans are given for {len(files)} label files; give one of each.")
    times = [_time_point(text) for text in _per_study(parsed.when, "--when", parsed)]
    days = [_day(text) for text in _per_study(parsed.date, "--date", parsed)]
    return [
        read_exam(path, None if path.is_dir() else next(images, None), LabelScheme(parsed.scheme), when, day)
        for path, when, day in zip(parsed.studies, times, days, strict=True)
    ]


def _per_study(given: list[str], option: str, parsed: argparse.Namespace) -> list[str | None]:
    if given and len(given) != len(parsed.studies):
        raise InputError(f"'{option}' is given {len(given)} times for {len(parsed.studies)} studies; once for each.")
    return list(given) or [None] * len(parsed.studies)


def _time_point(text: str | None) -> TimePoint | None:
    from GliomaSegLib.case import TimePoint, TimePointKind

    if text is None:
        return None
    kind, _, days = text.partition(":")
    try:
        return TimePoint(TimePointKind(kind), float(days) if days else None)
    except ValueError as error:
        raise InputError(
            f"'--when {text}' is not preoperative, postoperative, postoperative:DAYS or unknown."
        ) from error


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"'--date {text}' is not a date such as 2024-03-31.") from error
