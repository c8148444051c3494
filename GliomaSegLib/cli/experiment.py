"""``gliomaseg experiment``: how far missing sequences and other hospitals lower the accuracy of any model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TextIO

from GliomaSegLib.case import Modality
from GliomaSegLib.cli.arguments import add_machine, add_output, add_root, add_store, fields_of
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import BrainMethod


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg experiment``."""
    parser.description = (
        "Segment every case of one or more case tables with every subset of its sequences and compare with the "
        "reference labels: Dice, HD95, sensitivity, lesions found; tests with Bonferroni's correction; one HTML page "
        "and CSV files. A table's columns are case, patient, hospital, t1n, t1c, t2w, t2f, truth, truth_of and scheme."
    )
    parser.add_argument("tables", type=Path, nargs="+", metavar="CASES.csv", help="two or more: also the domain gap")
    parser.add_argument(
        "--model", action="append", required=True, metavar="ID", help="repeatable; first is compared with"
    )
    add_output(parser)
    add_root(parser)
    parser.add_argument("--splits", type=Path, metavar="JSON", help="patients of train, test and validation")
    parser.add_argument(
        "--split", action="append", metavar="NAME", help="which patients, with --splits; repeatable (default test)"
    )
    parser.add_argument(
        "--subsets",
        type=_subsets,
        default="all",
        metavar="WHICH",
        help="all (default), leave-one-out, full, or those that are named, as in t1n+t1c,t2f",
    )
    preparation = parser.add_mutually_exclusive_group()
    preparation.add_argument(
        "--network-only",
        action="store_true",
        help="the images are co-registered and skull-stripped: no registration, no brain extraction",
    )
    preparation.add_argument(
        "--nullify",
        type=Path,
        metavar="DIR",
        help="register and skull-strip each case once, with all of its sequences, and keep it in DIR: then subsets "
        "differ in nothing but what the network is given",
    )
    preparation.add_argument(
        "--brain",
        choices=BrainMethod.values(),
        default="deepbet",
        help="how it is found in every run, as in 'segment' (default: %(default)s)",
    )
    parser.add_argument(
        "--trained-for", action="append", default=[], metavar="MODEL=DATA",
        help="the table (without .csv) whose data a model was trained on, for two models of one procedure",
    )  # fmt: skip
    parser.add_argument("--keep", type=Path, metavar="F", help="keep the runs in this file; go on from those in it")
    parser.add_argument(
        "--gallery",
        action="store_true",
        help="also draw each model's best and worst case, stripped, into OUT/gallery: pictures of patients",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers that some networks need")
    add_machine(parser)
    add_store(parser)
    parser.set_defaults(command=run)


def _subsets(text: str) -> str | tuple[tuple[Modality, ...], ...]:
    if text in ("all", "leave-one-out", "full"):
        return text
    try:
        named = [{Modality(name) for name in one.split("+")} for one in text.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"'{text}' is not all, leave-one-out, full, or subsets of t1n, t1c, t2w and t2f such as t1n+t1c,t2f"
        ) from error
    return tuple(tuple(sequence for sequence in Modality if sequence in one) for one in named)


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Perform the experiment and write the page; the exit status."""
    from GliomaSegLib.experiments.analysis import analyse
    from GliomaSegLib.experiments.definition import Experiment, left_out, read_data_sets
    from GliomaSegLib.experiments.experiment_page import write_experiment
    from GliomaSegLib.experiments.gallery import draw_gallery
    from GliomaSegLib.experiments.runner import run_experiment
    from GliomaSegLib.io.folder import check_output
    from GliomaSegLib.terminal import progress_for_stderr

    check_output(parsed.output, parsed.overwrite)
    data = read_data_sets(parsed.tables, parsed.root, _patients(parsed))
    own_data = _own_data(parsed, [one.name for one in data])
    experiment = Experiment(
        models=tuple(dict.fromkeys(parsed.model)),
        prepared_cases=parsed.nullify,
        **fields_of(parsed, "subsets", "network_only", "brain", "seed", "device", "threads", "store"),
    )
    with progress_for_stderr() as progress:
        runs = run_experiment(experiment, data, parsed.keep, progress)
        gallery = draw_gallery(experiment, data, runs, progress) if parsed.gallery else []
    omitted = left_out(experiment, data, runs)
    page = write_experiment(
        parsed.output, experiment, data, runs, analyse(runs, own_data), gallery, omitted, parsed.overwrite
    )
    for one in omitted:
        print(f"Left out: {one}", file=output)
    failed = sum(one.failure is not None for one in runs)
    print(f"{len(runs)} runs, {failed} of them without a segmentation: {page}", file=output)
    return 0


def _patients(parsed: argparse.Namespace) -> frozenset[str] | None:
    from GliomaSegLib.datasets.case_table import read_splits

    if parsed.splits is None:
        return None
    splits = read_splits(parsed.splits)
    wanted = parsed.split or ["test"]
    for split in wanted:
        if split not in splits:
            raise InputError(f"{parsed.splits} has no split '{split}'; it has {', '.join(splits)}.")
    return frozenset(patient for split in wanted for patient in splits[split])


def _own_data(parsed: argparse.Namespace, names: list[str]) -> dict[str, str]:
    own = {}
    for text in parsed.trained_for:
        model, _, data = text.partition("=")
        if model not in parsed.model or data not in names:
            raise InputError(
                f"'--trained-for {text}' is not one of the models ({', '.join(parsed.model)}), '=' and one of the "
                f"tables ({', '.join(names)})."
            )
        own[model] = data
    return own
