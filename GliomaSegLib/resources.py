"""Finds the data files that belong to the program: model cards, terminology, report template, shipped weights."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent
# Installed (wheel, Slicer) they are inside the package; in a source checkout beside it.
_PLACES = (_PACKAGE / "Resources", _PACKAGE.parent / "Resources")


def resource(name: str) -> Path:
    """Path of the file or folder ``name`` below ``Resources``.

    Raises:
        FileNotFoundError: the installation is incomplete.
    """
    for place in _PLACES:
        if (place / name).exists():
            return place / name
    raise FileNotFoundError(f"GliomaSeg's own file 'Resources/{name}' is missing; install GliomaSeg again.")
