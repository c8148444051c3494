"""Renders the pages of research (experiments, comparisons of models) from their templates in ``Resources``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from GliomaSegLib import NOTICE
from GliomaSegLib.resources import resource

SIGNIFICANT = 0.05


def render(template: str, **values: Any) -> str:
    """A page from a template, with the notice and the time at which it is made."""
    path = resource(template)
    environment = Environment(
        loader=FileSystemLoader(path.parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=_number, signed=_signed, p=_p)
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return environment.get_template(path.name).render(notice=NOTICE, made=made, significant=SIGNIFICANT, **values)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\u2212")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
