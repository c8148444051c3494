"""Whether the weights in a folder are what was installed there, and of the files that a card names."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.card_weights import weights_sha256
from GliomaSegLib.zoo.places import INSTALLED_RECORD, WEIGHTS_FILE


def intact_and_of(card: Card, folder: Path) -> tuple[bool, bool]:
    """Whether the weights in a model's folder are those of its record, and whether this is of the files that the card
    names."""
    try:
        record = json.loads((folder / INSTALLED_RECORD).read_text(encoding="utf-8"))
        if weights_sha256(folder / WEIGHTS_FILE) != record["sha256"]:
            return False, False
        return True, _are_of(card, record["published"], record.get("md5", {}))
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False, False


def _are_of(card: Card, sha256: Mapping[str, str], md5: Mapping[str, str]) -> bool:
    """Whether the recorded hashes of the published files are those that the card names, as far as it does."""
    return all(
        (not file.sha256 or sha256.get(file.name) == file.sha256) and (not file.md5 or md5.get(file.name) == file.md5)
        for file in card.weights.files
    )
