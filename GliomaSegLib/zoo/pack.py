"""Carrying installed models to where there is no network: a store packed into one zip file, or copied as a folder.

A pack holds, as a store does, a folder per model, and in it also the model's card, so that a user's own models travel
with it. Weights are safetensors files, which cannot hold code; they are checked against their recorded hashes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import INSTALLED_RECORD, WEIGHTS_FILE

if TYPE_CHECKING:
    from GliomaSegLib.zoo.store import Store

Origin = Path | zipfile.Path
_CARD = "card.json"


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
                opened.writestr(f"{card.id}/{_CARD}", card.model_dump_json(indent=2))
        temporary.replace(destination)
    except OSError as error:
        raise InputError(f"{destination} could not be written ({error.strerror or error}); make room.") from error
    finally:
        temporary.unlink(missing_ok=True)
    return tuple(card.id for card in carried)


def models_in(source: Path) -> tuple[str, ...]:
    """The ids of the models in a pack or a store; empty for anything else."""
    origin = _opened(source)
    if origin is None:
        return ()
    return tuple(sorted(entry.name for entry in origin.iterdir() if (entry / INSTALLED_RECORD).is_file()))


def find(source: Path, model: str) -> Origin | None:
    """The folder of ``model`` in a pack or a store; ``None`` where ``source`` is neither or has it not."""
    origin = _opened(source)
    if origin is None or not (origin / model / INSTALLED_RECORD).is_file():
        return None
    return origin / model


def add_card(store: Store, source: Path, model: str) -> Card:
    """Add the card of ``model`` that comes with a pack to ``store``.

    Raises:
        InputError: the pack has none, or it cannot be used.
    """
    origin = find(source, model)
    if origin is None or not (origin / _CARD).is_file():
        raise InputError(f"{source} holds no card of '{model}'; add it first with 'gliomaseg models add CARD'.")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{model}.json"
        path.write_bytes((origin / _CARD).read_bytes())
        return store.add(path)


def take(origin: Origin, folder: Path) -> None:
    """Copy a model's weights, record and licence files from ``origin`` into ``folder``, which is made.

    Raises:
        WeightsError: the pack is damaged.
    """
    folder.mkdir(mode=0o755)
    try:
        for entry in origin.iterdir():
            if entry.is_file() and (entry.name in (WEIGHTS_FILE, INSTALLED_RECORD) or "licen" in entry.name.lower()):
                with entry.open("rb") as source, (folder / entry.name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, EOFError) as error:
        raise WeightsError(f"The pack is damaged ({error}); pack it anew.") from error


def _opened(source: Path) -> Origin | None:
    if source.is_dir():
        return source
    if source.is_file() and zipfile.is_zipfile(source):
        return zipfile.Path(source)
    return None
