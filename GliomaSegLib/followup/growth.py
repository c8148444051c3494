"""The growth curve: volume of each lesion, and total volume, over the time points, as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

_STRONG = "#1c2733"
_COLOURS = ("#0b6e8f", "#c2571a", "#5b8c2a", "#7a4fa3", "#8a6d00", "#444f5a")
_WIDTH, _HEIGHT = 520, 210
_LEFT, _TOP, _RIGHT, _BOTTOM = 48, 10, 96, 38
_TICKS, _LINE, _LETTER = 4, 11, 6


@dataclass(frozen=True)
class Curve:
    """One line: volume in mL at each time point, ``None`` where there is none; ``strong``: drawn thick and dark."""

    name: str
    volumes_ml: Sequence[float | None]
    strong: bool = False


def growth_plot(curves: Sequence[Curve], places: Sequence[float], labels: Sequence[str], axis: str) -> Markup:
    """Plot curves over ``places`` (days, or 0, 1, 2, …) with these tick ``labels``; ``axis``: title of the x axis."""
    highest = max((ml for curve in curves for ml in curve.volumes_ml if ml is not None), default=0.0)
    top = _round_up(highest)
    first, last = places[0], places[-1]

    def x_of(place: float) -> float:
        share = (place - first) / (last - first) if last > first else 0.5
        return _LEFT + share * (_WIDTH - _LEFT - _RIGHT)

    def y_of(ml: float) -> float:
        return _TOP + (1 - ml / top) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in range(_TICKS + 1):
        value = top * tick / _TICKS
        y = y_of(value)
        parts.append(f'<path d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}" stroke="#dfe5ea"/>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{value:g}</text>')
    base = _HEIGHT - _BOTTOM
    free_from = -math.inf
    for place, label in zip(places, labels, strict=True):
        x, half = x_of(place), _LETTER / 2 * len(label)
        parts.append(f'<path d="M{x:.1f} {base}v4" stroke="#5b6b7a"/>')
        if x - half < free_from:  # it would overlap the label before it
            x = free_from + half
        free_from = x + half + _LETTER
        parts.append(f'<text x="{x:.1f}" y="{base + 15}" text-anchor="middle">{escape(label)}</text>')
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{_HEIGHT - 6}" text-anchor="middle">{escape(axis)}</text>')
    parts.append(f'<text transform="translate(11 {(_TOP + base) / 2}) rotate(-90)" text-anchor="middle">mL</text>')
    names = []
    for number, curve in enumerate(curves):
        colour = _STRONG if curve.strong else _COLOURS[number % len(_COLOURS)]
        points = [(x_of(place), y_of(ml)) for place, ml in zip(places, curve.volumes_ml, strict=True) if ml is not None]
        parts += _line(points, colour, 2.2 if curve.strong else 1.4)
        if curve.volumes_ml[-1] is not None:
            names.append((points[-1][1], curve.name, colour))
    parts += _names(names, _WIDTH - _RIGHT + 6)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'aria-label="volumes over time" font-size="10" fill="#1c2733">{"".join(parts)}</svg>'
    )


def _line(points: Sequence[tuple[float, float]], colour: str, width: float) -> list[str]:
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return [
        f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="{width}"/>',
        *(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{colour}"/>' for x, y in points),
    ]


def _names(names: Sequence[tuple[float, str, str]], x: float) -> list[str]:
    """The names beside the ends of the curves, moved up so that they do not overlap."""
    parts, lowest = [], math.inf
    for y, name, colour in sorted(names, reverse=True):
        lowest = min(y, lowest - _LINE)
        parts.append(f'<text x="{x:.1f}" y="{lowest + 3.5:.1f}" fill="{colour}">{escape(name)}</text>')
    return parts


def _round_up(value: float) -> float:
    """The next 1, 2, 4 or 8 times a power of ten, whose quarters are round numbers too."""
    if value <= 0:
        return 1.0
    power = 10 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 8, 10) if step * power >= value)
