"""Locations of models: the user's store, the stores of a site, and the cards of GliomaSeg.

Standard library only.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from GliomaSegLib.resources import resource

STORE_VARIABLE = "GLIOMASEG_MODELS"
SITE_VARIABLE = "GLIOMASEG_SITE_MODELS"

# Written last by an installation, so that it marks a complete one.
INSTALLED_RECORD = "installed.json"
WEIGHTS_FILE = "weights.safetensors"

# Cards of the users' own models, in a store. No model is called so: an id begins with a letter or a digit.
ADDED_CARDS = ".cards"


def shipped_cards() -> tuple[Path, ...]:
    """The cards that come with GliomaSeg."""
    return tuple(sorted(resource("models").glob("*.json")))


def added_cards(store: Path) -> tuple[Path, ...]:
    """The cards that users added to a store and to the site's stores; of two with one name the first counts."""
    return tuple(path for place in (store, *site_stores()) for path in sorted((place / ADDED_CARDS).glob("*.json")))


def default_store() -> Path:
    """The user's store: the folder named by ``GLIOMASEG_MODELS``, else the platform's folder for user data."""
    if named := os.environ.get(STORE_VARIABLE):
        return Path(named).expanduser()
    return _user_data() / "GliomaSeg" / "models"


def site_stores() -> tuple[Path, ...]:
    """Read-only stores of a hospital or laboratory: the folders in ``GLIOMASEG_SITE_MODELS``, separated as in
    ``PATH``."""
    return tuple(Path(place).expanduser() for place in os.environ.get(SITE_VARIABLE, "").split(os.pathsep) if place)


def installed_in(model: str, stores: Iterable[Path]) -> Path | None:
    """The model's folder in the first of the stores in which it is installed."""
    return next((store / model for store in stores if (store / model / INSTALLED_RECORD).is_file()), None)


def _user_data() -> Path:
    """The platform's folder for an application's data of one user."""
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support"
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")
