"""Packs: installed models in one zip file, for computers without network access. A store's folder can be read as one.

Like a store, a pack holds a folder per model; it also contains the model's card, so that users' own models can be
passed on. Weights are safetensors files, which cannot hold code; they are checked against their recorded hashes.
"""

from __future__ import annotations

import os
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path, PureWindowsPath

from GliomaSegLib.errors import InputError, WeightsError
from GliomaSegLib.progress import Progress
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_json import card_text
from GliomaSegLib.zoo.places import ADDED_CARDS, INSTALLED_RECORD, WEIGHTS_FILE

Origin = Path | zipfile.Path
CARD_FILE = "card.json"


def models_in(source: Path) -> tuple[str, ...]:
    """The ids of the models in a pack or a store; empty for anything else."""
    origin = _opened(source)
    if origin is None:
        return ()
    return tuple(sorted(entry.name for entry in origin.iterdir() if (entry / INSTALLED_RECORD).is_file()))


def find(source: Path, model: str) -> Origin | None:
    """The folder of ``model`` in a pack or a store; ``None`` where ``source`` is neither or does not contain it."""
    origin = _opened(source)
    if origin is None or not (origin / model / INSTALLED_RECORD).is_file():
        return None
    return origin / model


def card_of(source: Path, model: str) -> Origin | None:
    """The file of the card that comes with ``model`` in a pack, or that was added to a store; ``None`` without one."""
    origin = find(source, model)
    if origin is None:
        return None
    places: list[Origin] = [origin / CARD_FILE]  # of a pack, also of one that was unpacked
    if source.is_dir():
        places.append(source / ADDED_CARDS / f"{model}.json")
    return next((place for place in places if place.is_file()), None)


def take(origin: Origin, folder: Path) -> None:
    """Copy a model's weights, record and licence files from ``origin`` into ``folder``, which is made.

    Raises:
        WeightsError: the pack is damaged.
    """
    folder.mkdir(mode=0o755)
    try:
        for entry in origin.iterdir():
            if PureWindowsPath(entry.name).name != entry.name or not entry.name.isprintable():
                raise WeightsError("The pack holds a name that is no file's; do not use it.")
            if entry.is_file() and (entry.name in (WEIGHTS_FILE, INSTALLED_RECORD) or "licen" in entry.name.lower()):
                with entry.open("rb") as source, (folder / entry.name).open("wb") as target:
                    shutil.copyfileobj(source, target, 1 << 20)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise WeightsError(f"The pack is damaged ({error}); pack it anew.") from error


def _rename_onto_nothing(source: Path, target: Path) -> None:
    """As ``mv -n``: an existing file, even one that has just been created, is not replaced.

    Raises:
        FileExistsError: there is one.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        target.open("xb").close()
        source.replace(target)


def _opened(source: Path) -> Origin | None:
    if source.is_dir():
        return source
    if not (source.is_file() and zipfile.is_zipfile(source)):
        return None
    try:
        opened = zipfile.ZipFile(source)
    except Exception as error:  # a malformed one raises many kinds
        raise WeightsError(f"The pack {source} is damaged ({error}); pack it anew.") from error
    if sum(entry.file_size for entry in opened.infolist()) > source.stat().st_size:  # packs are not compressed
        raise WeightsError(f"The pack {source} would grow when it is unpacked, as no pack does; do not use it.")
    return zipfile.Path(opened)


def export(models: Sequence[tuple[Card, Path]], destination: Path, progress: Progress) -> None:
    """Pack installed models, each a card and its folder in a store, into the zip file ``destination``, which appears
    whole or not at all.

    Raises:
        InputError: the file is there already or cannot be written.
    """
    progress.stage("export")
    if destination.exists():
        raise InputError(f"{destination} exists already; name another file.")
    temporary = destination.with_name(f".{destination.name}.{os.getpid()}.partial")
    try:
        destination.absolute().parent.mkdir(parents=True, exist_ok=True)
        temporary.open("wb").close()  # tempfile's files are readable by their owner only, but packs are shared
    except OSError as error:
        raise InputError(f"{destination} cannot be written ({error.strerror}); name another file.") from error
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as opened:
            for done, (card, folder) in enumerate(models):
                progress.advance(done / len(models), card.id)
                for path in sorted(folder.iterdir()):
                    opened.write(path, f"{card.id}/{path.name}")
                opened.writestr(f"{card.id}/{CARD_FILE}", card_text(card))
        _rename_onto_nothing(temporary, destination)
    except FileExistsError as error:
        raise InputError(f"{destination} was made by another program meanwhile; name another file.") from error
    except OSError as error:
        raise InputError(f"{destination} could not be written ({error.strerror or error}); make room.") from error
    finally:
        temporary.unlink(missing_ok=True)
