"""Packing installed models into one zip file, and adding the cards that come with such a pack."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path

from GliomaSegLib.errors import InputError
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.pack import CARD_FILE, find
from GliomaSegLib.zoo.store import Store


def export(store: Store, cards: Sequence[Card], destination: Path, progress: Progress) -> tuple[str, ...]:
    """Pack installed models into the zip file ``destination``, which appears whole or not at all.

    Models whose weights come with GliomaSeg or inside a Python package are left out.

    Returns:
        the ids of those that were packed.

    Raises:
        WeightsError: one of them is not installed, or damaged.
        InputError: there is nothing to pack, or the file is there already or cannot be written.
    """
    progress.stage("export")
    carried = [card for card in cards if card.weights.files]
    if not carried:
        raise InputError("There is nothing to pack: none of these models has weights in a store.")
    if destination.exists():
        raise InputError(f"{destination} exists already; name another file.")
    for card in carried:
        store.weights(card)
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        destination.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary.open("wb").close()  # not by tempfile, whose files are private: a pack is for others
    except OSError as error:
        raise InputError(f"{destination} cannot be written ({error.strerror}); name another file.") from error
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as opened:
            for done, card in enumerate(carried):
                progress.advance(done / len(carried), card.id)
                for path in sorted(store.folder(card).iterdir()):
                    opened.write(path, f"{card.id}/{path.name}")
                opened.writestr(f"{card.id}/{CARD_FILE}", card_text(card))
        temporary.replace(destination)
    except OSError as error:
        raise InputError(f"{destination} could not be written ({error.strerror or error}); make room.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return tuple(card.id for card in carried)


def add_card(store: Store, source: Path, model: str) -> Card:
    """Add the card of ``model`` that comes with a pack to ``store``.

    Raises:
        InputError: the pack has none, or it cannot be used.
    """
    origin = find(source, model)
    if origin is None or not (origin / CARD_FILE).is_file():
        raise InputError(f"{source} holds no card of '{model}'; add it first with 'gliomaseg models add CARD'.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.json"
        path.write_bytes((origin / CARD_FILE).read_bytes())
        return store.add(path, carried=True)
