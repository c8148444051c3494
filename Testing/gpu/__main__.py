"""``python -m Testing.gpu``: pack here, run where the graphics card is, join here.

    python -m Testing.gpu pack RECIPE --cases CSV --splits JSON --cache CACHE --inference-case NAME -o PACKS
    python -m Testing.gpu run PACKS/pack-*.zip --images PACKS/inference.npz --minutes 8 -o OUT     # on the card
    python -m Testing.gpu join OUT -o RUN             # RUN/last.pt, to go on from or to export

A recipe's own voxels decide whether the packs are of 2 mm or 1 mm; each is of 40 MiB at most (``--mib``), and they may
be sent one after the other into a folder that stays. ``run`` measures inference for three minutes at most, prints the
table for docs/performance.md, trains for the rest of the time and leaves eight files of less than 16 MiB at most in
OUT. It goes on from ``--resume OUT`` of an earlier run, and from its work folder where that is still there.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch

from GliomaSegLib.errors import GliomaSegError
from Testing.gpu import measure, parts, train

_MEASURING_S = 180.0
_FINISHING_S = 20.0  # for the last checkpoint and its parts


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m Testing.gpu", description=__doc__, formatter_class=_Raw)
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    pack = actions.add_parser("pack", help="write packs of a training's cases")
    pack.add_argument("recipe", help="a recipe file, or the name of one that comes with GliomaSeg")
    pack.add_argument("--cases", type=Path, required=True, metavar="CSV")
    pack.add_argument("--root", type=Path, metavar="DIR")
    pack.add_argument("--splits", type=Path, metavar="JSON")
    pack.add_argument("--cache", type=Path, required=True, metavar="DIR", help="of 'gliomaseg train'")
    pack.add_argument("--mib", type=float, default=40, help="largest pack (default: %(default)s)")
    pack.add_argument("--inference-case", metavar="NAME", help="also write the images of this case, inference.npz")
    pack.add_argument("-o", "--output", type=Path, required=True, metavar="PACKS")
    pack.set_defaults(command=_pack)
    run = actions.add_parser("run", help="measure, then train until the time is up")
    run.add_argument("packs", type=Path, nargs="*", metavar="PACK")
    run.add_argument("--images", type=Path, metavar="NPZ", help="the case to measure with")
    run.add_argument("--store", type=Path, metavar="DIR", help="a folder of installed models, such as CA-CNN's")
    run.add_argument("--minutes", type=float, default=8.0, help="in all (default: %(default)s)")
    run.add_argument("--initial", type=Path, metavar="PT", help="start from the averaged weights of a checkpoint")
    run.add_argument("--resume", type=Path, metavar="OUT", help="folder with the parts of an earlier checkpoint")
    run.add_argument("--work", type=Path, default=Path("gpu-work"), metavar="DIR", help="folder of the run")
    run.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    run.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    run.set_defaults(command=_run)
    join = actions.add_parser("join", help="put the parts of a checkpoint together")
    join.add_argument("parts", type=Path, metavar="OUT")
    join.add_argument("-o", "--output", type=Path, required=True, metavar="RUN")
    join.set_defaults(command=_join)
    parsed = parser.parse_args(arguments)
    try:
        parsed.command(parsed)
    except GliomaSegError as error:
        raise SystemExit(str(error)) from error


class _Raw(argparse.RawDescriptionHelpFormatter):
    """The examples above as they are written."""


def _pack(parsed: argparse.Namespace) -> None:
    from Testing.gpu.packing import pack

    for path in pack(parsed):
        print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


def _run(parsed: argparse.Namespace) -> None:
    end = time.monotonic() + 60 * parsed.minutes
    device = torch.device(parsed.device)
    parsed.output.mkdir(parents=True, exist_ok=True)
    if parsed.images:
        rows = []
        for row in measure.measured(measure.read_images(parsed.images), device, parsed.store):
            rows.append(row)
            print(row if isinstance(row, str) else row.to_markdown(), flush=True)
            (parsed.output / "gpu-table.md").write_text(measure.table(rows, device), encoding="utf-8")
            if time.monotonic() > end - 60 * parsed.minutes + _MEASURING_S:
                print("Three minutes of measuring are over; the rest is not measured.", flush=True)
                break
        print(measure.table(rows, device), flush=True)
    left = end - time.monotonic() - _FINISHING_S
    if parsed.packs and left > 0:
        train.train(parsed.packs, parsed.output, parsed.work, left, device, parsed.resume, parsed.initial)


def _join(parsed: argparse.Namespace) -> None:
    print(f"{parts.joined(parsed.parts, parsed.output)} is whole.")


if __name__ == "__main__":
    main()
