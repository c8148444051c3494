"""Finds the data files of the program: model cards, terminology, report templates, shipped weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_PACKAGE = Path(__file__).resolve().parent
# Inside the package when installed (wheel, Slicer); beside it in a source checkout.
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


def rendered(template: str, filters: Mapping[str, Callable[..., object]] | None = None, **values: Any) -> str:
    """Render the Jinja template of this name to HTML; texts are escaped, and undefined names are errors."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # here: not needed by the panel and --help

    environment = Environment(
        loader=FileSystemLoader(resource(template).parent), autoescape=True, undefined=StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.filters.update(filters or {})
    return environment.get_template(template).render(**values)
