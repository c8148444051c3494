"""Renders the HTML pages of experiments and of comparisons of models from the templates in ``Resources``."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

from GliomaSegLib import NOTICE
from GliomaSegLib.resources import rendered

SIGNIFICANT = 0.05


def render(template: str, **values: Any) -> str:
    """A page from a template, with the notice and the time at which it is made."""
    made = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    filters = {"number": _number, "signed": _signed, "p": _p}
    return rendered(template, filters, notice=NOTICE, made=made, significant=SIGNIFICANT, **values)


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _signed(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:+.{digits}f}".replace("-", "\u2212")


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
