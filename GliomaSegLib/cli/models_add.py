"""``gliomaseg models add``: adds a model of the user's own, from its card, a run of ``gliomaseg train`` or a bundle."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.cli.arguments import TIME_POINTS, chosen_store
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import Task

if TYPE_CHECKING:
    from GliomaSegLib.zoo.card import Card
    from GliomaSegLib.zoo.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of ``gliomaseg models add`` except ``--store``."""
    parser.description = (
        "Add a model of your own to the zoo: a card (JSON), or what a card is written from and installed at once: the "
        "run of 'gliomaseg train' or a MONAI bundle. See docs/models.md and docs/training.md."
    )
    parser.add_argument(
        "sources", type=Path, nargs="+", metavar="SOURCE",
        help="a card; the folder of a run or one of its checkpoints (several for a model of several networks); or the "
        "folder or zip of a MONAI bundle",
    )  # fmt: skip
    parser.add_argument(
        "--from", dest="weights", type=Path, metavar="PATH", help="with a card: install these weights at once"
    )
    made = parser.add_argument_group("without a card")
    made.add_argument("--id", metavar="ID", help="of the model: small letters, digits, dots and dashes")
    made.add_argument("--licence", metavar="TEXT", help="of the weights, such as 'in-house, not to be passed on'")
    made.add_argument("--title", metavar="TEXT")
    made.add_argument("--attribution", metavar="TEXT", help="who made the weights, and from whose data")
    made.add_argument("--task", choices=Task.of_tumour(), default=Task.PREOPERATIVE_GLIOMA.value)
    made.add_argument(
        "--time-point", choices=TIME_POINTS, action="append", help="for which studies it is made; may be given again"
    )
    made.add_argument(
        "--like", metavar="ID", help="of runs: the model whose networks they trained, if not the one they started from"
    )
    made.add_argument("--sequences", metavar="A,B", type=_names, default=(), help="of a bundle: its input channels")
    made.add_argument("--channels", metavar="A,B", type=_names, default=(), help="of a bundle: its output channels")
    parser.set_defaults(command=run)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split(","))


def run(parsed: argparse.Namespace, output: TextIO) -> int:
    """Add the model; the exit status."""
    store, first = chosen_store(parsed), parsed.sources[0]
    if first.suffix != ".json":
        card = _made(parsed, store)
    elif len(parsed.sources) > 1:
        raise InputError(f"A card is added alone; {parsed.sources[1]} was given beside {first}.")
    else:
        card = store.add(first, weights=parsed.weights)
        if parsed.weights is None:
            whose = "its members' weights" if card.weights.members else "its weights"
            print(f"{card.id} is added; 'gliomaseg models install {card.id}' installs {whose}.", file=output)
            return 0
    print(
        f"{card.id} is added and installed in {store.folder(card)}; 'gliomaseg segment STUDY --model {card.id} -o OUT' "
        f"runs it, 'gliomaseg models show {card.id}' prints its card.",
        file=output,
    )
    return 0


def _made(parsed: argparse.Namespace, store: Store) -> Card:
    """The model whose card is written from what was given."""
    from GliomaSegLib.training.own_model import is_run, write_model
    from GliomaSegLib.zoo.bundle import is_bundle, write_bundle
    from GliomaSegLib.zoo.own import About

    first = parsed.sources[0]
    for source in parsed.sources:
        if not source.exists():
            raise InputError(f"{source} does not exist; give a card (JSON), a run or a bundle.")
        if not is_run(source) and (len(parsed.sources) > 1 or not is_bundle(source)):
            raise InputError(
                f"{source} is neither a card (JSON), nor the run of a training (a folder with recipe.json, or one of "
                "its checkpoints), nor a MONAI bundle; give one of these."
            )
    if parsed.id is None:
        raise InputError("Name the model with --id, such as our-model.")
    about = About(
        parsed.id,
        parsed.licence or _asked("Licence of the weights"),
        parsed.title,
        parsed.attribution,
        Task(parsed.task),
        tuple(map(TimePointKind, parsed.time_point or (TimePointKind.PREOPERATIVE.value,))),
    )
    with tempfile.TemporaryDirectory() as folder:
        if is_run(first):
            card, weights = write_model(parsed.sources, about, Path(folder), store, parsed.like)
        else:
            card, weights = write_bundle(first, about, Path(folder), parsed.sequences, parsed.channels)
        return store.add(card, weights=weights)


def _asked(what: str) -> str:
    """The user's answer to a prompt on the terminal."""
    answer = input(f"{what} (e.g. 'in-house, not to be passed on'): ").strip() if sys.stdin.isatty() else ""
    if not answer:
        raise InputError("Say the licence of the weights with --licence, such as 'in-house, not to be passed on'.")
    return answer
