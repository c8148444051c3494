"""Reading installed models from a pack (one zip file, for places without a network) or from the folder of a store.

A pack holds, as a store does, a folder per model, and in it also the model's card, so that a user's own models travel
with it (:mod:`GliomaSegLib.zoo.packing`). Weights are safetensors files, which cannot hold code; they are checked
against their recorded hashes.
"""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path

from GliomaSegLib.errors import WeightsError
from GliomaSegLib.zoo.places import INSTALLED_RECORD, WEIGHTS_FILE

Origin = Path | zipfile.Path
CARD_FILE = "card.json"


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
