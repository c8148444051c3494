"""``gliomaseg batch``: plans, runs, resumes and summarises many cases. It parses, calls the library and prints."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from GliomaSegLib import NOTICE
from GliomaSegLib.case import Modality
from GliomaSegLib.cli.arguments import add_processing, add_root, add_store, processing_fields
from GliomaSegLib.errors import InputError

if TYPE_CHECKING:  # heavy imports happen inside the command
    from GliomaSegLib.batch.dispatch import Workers
    from GliomaSegLib.batch.run import Outcome
    from GliomaSegLib.batch.shard import Shard
    from GliomaSegLib.batch.table import CaseList

_FAILED = 1
_NAMED = 10  # failed cases that are printed; the page lists all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg batch``."""
    parser.description = (
        "Segment many cases: those of a table (CSV) with the column 'case' and 'study' or t1n, t1c, t2w, t2f, and if "
        "need be patient, exam, model, without, time_point, days_since_surgery; or of a folder, BIDS "
        "(sub-*/[ses-*/]anat) or with one folder per study. One case that fails does not stop the others. Started "
        "again, it goes on with what is not done."
    )
    parser.add_argument("cases", type=Path, metavar="TABLE|FOLDER", help="the cases")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="gets a folder per case")
    parser.add_argument(
        "--model", metavar="ID", help="for the cases whose row names none; without, the best installed one for each"
    )
    parser.add_argument("--plan", action="store_true", help="say what there is to do, and do nothing")
    add_root(parser)
    parser.add_argument(
        "--channels", type=_channels, default=(), metavar="S,S,…",
        help="of an nnU-Net folder (CASE_0000.nii.gz): the sequences of its channels in order, such as t1n,t1c,t2w,t2f",
    )  # fmt: skip
    parser.add_argument("--parquet", action="store_true", help="write OUT/summary.parquet as well (needs pyarrow)")
    parser.add_argument("--bids", type=Path, metavar="DIR", help="write all results as BIDS derivatives as well")
    parser.add_argument("--overwrite", action="store_true", help="replace other results, unless edited or reviewed")
    parser.add_argument(
        "--shard", type=_shard, metavar="I/N", help="only the I-th of N parts, for array jobs (I from 1)"
    )
    parser.add_argument("--workers", type=_positive, default=1, metavar="N", help="cases at once on this machine")
    parser.add_argument(
        "--scheduler",
        metavar="TCP|FILE",
        help="a Dask cluster's tcp://HOST:PORT or scheduler file; see docs/cluster.md",
    )
    parser.add_argument("--json", action="store_true", help="print the plan, or how each case stands, as JSON")
    add_store(parser)
    add_processing(parser)
    parser.set_defaults(command=run)


def _positive(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)


def _channels(text: str) -> tuple[Modality, ...]:
    names = text.split(",")
    if len(set(names)) < len(names) or not set(names) <= {modality.value for modality in Modality}:
        raise argparse.ArgumentTypeError(f"'{text}' is no list of different sequences, such as t1n,t1c,t2w,t2f")
    return tuple(map(Modality, names))


def _shard(text: str) -> Shard:
    from GliomaSegLib.batch.shard import Shard

    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise argparse.ArgumentTypeError(f"'{text}' is not I/N with I from 1 to N, such as 3/20")
    return Shard(int(number), int(count))


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Plan and run the batch; the exit status, which is 1 when a case has failed."""
    from GliomaSegLib.batch.plan import CaseStatus, make_plan
    from GliomaSegLib.batch.run import run_batch
    from GliomaSegLib.batch.shard import WHOLE
    from GliomaSegLib.batch.summary import CaseState, write_parquet
    from GliomaSegLib.batch.table import CaseList, read_case_list
    from GliomaSegLib.cli.batch_display import display_for_stderr
    from GliomaSegLib.io.folder import check_output
    from GliomaSegLib.terminal import progress_for_stderr

    devices = parsed.device.split(",")  # of several the workers take one each
    if parsed.scheduler and (len(devices) > 1 or parsed.workers > 1):
        raise InputError("'--workers' and several devices are of this machine; leave them out with '--scheduler'.")
    if parsed.bids and not parsed.plan:
        check_output(parsed.bids, parsed.overwrite)  # before hours of work
    shard = parsed.shard or WHOLE
    everything = read_case_list(
        parsed.cases, parsed.output, parsed.root, parsed.channels, **_options(parsed, devices[0])
    )
    mine = CaseList(everything.source, shard.of(everything.cases), everything.unused)
    if parsed.plan:
        with progress_for_stderr() as progress:
            plan = make_plan(mine, parsed.workers, parsed.overwrite, progress)
        print(plan.to_json() if parsed.json else plan.to_text(), file=output)
        return 0
    workers = _workers(parsed, devices)
    try:
        with progress_for_stderr() as progress:
            plan = make_plan(mine, workers.count, parsed.overwrite, progress)
        print(plan.to_text(), file=sys.stderr)
        display = display_for_stderr(len(plan.of(CaseStatus.TO_DO)), workers.count)
        outcome = run_batch(plan, everything.cases, parsed.output.absolute(), workers, display, shard, parsed.overwrite)
    finally:
        workers.close()
    if parsed.parquet:
        write_parquet(outcome.cases, outcome.table.with_suffix(".parquet"))
    if parsed.bids:
        from GliomaSegLib.batch.bids import write_derivatives  # imports torch

        done = {one.case.name: one.case.output for one in outcome.cases if one.state is CaseState.DONE}
        write_derivatives(done, parsed.bids, parsed.overwrite)
    return _report(outcome, mine, parsed.json, output)


def _options(parsed: argparse.Namespace, device: str) -> dict[str, Any]:
    """The fields of every job that the command line gives."""
    from GliomaSegLib.batch.local import threads_of_each

    options = {name: value for name, value in processing_fields(parsed).items() if value is not None}
    options["device"] = device
    if parsed.model:
        options["model"] = parsed.model
    if parsed.workers > 1 and not parsed.scheduler:
        options.setdefault("threads", threads_of_each(parsed.workers))
    return options


def _workers(parsed: argparse.Namespace, devices: Sequence[str]) -> Workers:
    from GliomaSegLib.batch.cases import PRIVATE
    from GliomaSegLib.worker.client import worker_command

    if parsed.scheduler:
        from GliomaSegLib.batch.cluster import DaskWorkers

        return DaskWorkers(parsed.scheduler, needs_gpu=devices[0].startswith("cuda"))
    from GliomaSegLib.batch.local import local_workers

    command, logs = worker_command(Path(sys.executable)), parsed.output / PRIVATE / "logs"
    return local_workers(command, parsed.workers, logs, devices if len(devices) > 1 else ())


def _report(outcome: Outcome, mine: CaseList, as_json: bool, output: TextIO) -> int:
    """Print the state of all cases; the exit status is that of the cases that were asked for now."""
    from GliomaSegLib.batch.summary import CaseState

    asked = {(case.where, case.name) for case in mine.cases}
    failed = [
        one for one in outcome.cases if one.state is CaseState.FAILED and (one.case.where, one.case.name) in asked
    ]
    if as_json:
        rows = [
            {
                "case": one.case.name, "state": one.state.value, "volumes_ml": dict(one.volumes),
                "remarks": one.remarks, "warnings": one.warnings, "error": one.sentence or None,
                "output": str(one.case.output),
            }
            for one in outcome.cases
        ]  # fmt: skip
        print(
            json.dumps({"cases": rows, "page": str(outcome.page), "table": str(outcome.table)}, indent=2), file=output
        )
        return _FAILED if failed else 0
    counts = {state: outcome.count(state) for state in CaseState}
    print(", ".join(f"{count} {state.value}" for state, count in counts.items() if count), file=output)
    for one in failed[:_NAMED]:
        print(f"  {one.case.name}: {one.sentence}", file=output)
    if len(failed) > _NAMED:
        print(f"  and {len(failed) - _NAMED} more", file=output)
    print(f"Page: {outcome.page}\nTable: {outcome.table}\n{NOTICE}", file=output)
    return _FAILED if failed else 0
