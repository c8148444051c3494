"""``gliomaseg report`` and ``figure``: write the report of a result again or for sharing, and pictures for talks."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.cli import result
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import FigureLayout


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg report``."""
    result.add_arguments(parser)
    draw_again = parser.get_default("command")
    parser.add_argument("--share", type=Path, metavar="FILE", help="write a report to give away; OUT is not changed")
    parser.add_argument(
        "--anonymous", action=argparse.BooleanOptionalAction, default=True,
        help="of the report to give away: brain alone, no names, paths and dates (default: yes)",
    )  # fmt: skip

    def run(parsed: argparse.Namespace, output: TextIO) -> int:
        if parsed.share is not None:
            return _share(parsed, output)
        if not parsed.anonymous:
            raise InputError("'--no-anonymous' is for a report to give away; name its file with --share.")
        return draw_again(parsed, output)

    parser.set_defaults(command=run)


def _share(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.results.share import share_report

    share_report(parsed.output, parsed.share, parsed.anonymous)
    print(f"Report: {parsed.share}", file=output)
    return 0


def add_figure_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg figure``."""
    parser.description = "Draw slices with contours, legend and scale bar: the brain alone, without names and dates."
    parser.add_argument("output", type=Path, metavar="OUT", help="folder that 'segment' made")
    parser.add_argument(
        "--layout", choices=FigureLayout.values(), default="axial",
        help="the largest axial slice of every sequence (default), or slices or the three planes of the reference",
    )  # fmt: skip
    kind = parser.add_mutually_exclusive_group(required=True)
    for name, what in (("png", "pixels"), ("svg", "lines that stay sharp")):
        what += f"; default OUT/figure-LAYOUT.{name}"
        kind.add_argument(f"--{name}", nargs="?", type=Path, const=Path(), metavar="FILE", help=what)
    parser.set_defaults(command=_draw)


def _draw(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.results.figure import write_figure

    ending = ".png" if parsed.svg is None else ".svg"
    given = parsed.png if parsed.svg is None else parsed.svg
    path = parsed.output / f"figure-{parsed.layout}{ending}" if given == Path() else given
    if path.suffix.lower() != ending:
        path = path.with_name(path.name + ending)
    write_figure(parsed.output, FigureLayout(parsed.layout), path)
    print(f"Figure: {path}", file=output)
    return 0
