"""Draws box plots over subsets of sequences, and curves, as SVG text; no plotting library is needed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape

COLOURS = ("#0b6e8f", "#c2571a", "#5b8c2a", "#7a4fa3", "#8a6d00", "#444f5a")

_TOP, _LEFT, _RIGHT = 8, 44, 8  # around the plot, in user units (1 user unit is about 1 px)
_PLOT_HEIGHT = 190
_DOT_ROW = 13
_BOX, _BETWEEN = 14, 5  # width of a box, and what is left between two of one group


@dataclass(frozen=True)
class Box:
    """The values of one box; the colour is that of the series ``series``."""

    series: int
    values: Sequence[float]


def box_plot(
    groups: Sequence[Sequence[Box]], rows: Mapping[str, Sequence[bool]], series: Sequence[str], axis: str
) -> Markup:
    """Boxes from quartile to quartile with the median, whiskers to the values furthest within 1.5 boxes, every value
    a dot; the vertical axis runs from 0 to 1.

    Args:
        groups: boxes that stand side by side, one group per place on the horizontal axis.
        rows: under the axis, per row name whether each group has it: a filled or an empty circle.
        series: names for the legend.
        axis: what the values are.
    """
    widest = max((len(group) for group in groups), default=1)
    step = max(44, (_BOX + _BETWEEN) * widest + 14)
    width = _LEFT + step * len(groups) + _RIGHT
    height = _TOP + _PLOT_HEIGHT + 8 + _DOT_ROW * len(rows) + 4
    parts = _frame(width, axis)
    for place, group in enumerate(groups):
        middle = _LEFT + step * (place + 0.5)
        for number, box in enumerate(group):
            parts += _box(box, middle + (_BOX + _BETWEEN) * (number - (len(group) - 1) / 2))
    for row, (name, filled) in enumerate(rows.items()):
        y = _TOP + _PLOT_HEIGHT + 14 + _DOT_ROW * row
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 3.5}" text-anchor="end">{escape(name)}</text>')
        for place, is_filled in enumerate(filled):
            fill = "#1c2733" if is_filled else "#dfe5ea"
            parts.append(f'<circle cx="{_LEFT + step * (place + 0.5):.1f}" cy="{y}" r="3.6" fill="{fill}"/>')
    return _svg(width, height, parts, series)


def _box(box: Box, x: float) -> list[str]:
    if not len(box.values):
        return []
    colour = COLOURS[box.series % len(COLOURS)]
    values = np.asarray(box.values, float)
    lower, median, upper = np.percentile(values, (25, 50, 75))
    reach = 1.5 * (upper - lower)
    within = values[(values >= lower - reach) & (values <= upper + reach)]
    ends = [(within.min(), lower), (upper, within.max())]
    parts = [_line(x, _y(first), x, _y(last), colour) for first, last in ends]
    parts.append(
        f'<rect x="{x - _BOX / 2:.1f}" y="{_y(upper):.1f}" width="{_BOX}" height="{_y(lower) - _y(upper):.1f}" '
        f'fill="{colour}" fill-opacity=".22" stroke="{colour}"/>'
    )
    parts.append(_line(x - _BOX / 2, _y(median), x + _BOX / 2, _y(median), colour, 2))
    parts += [
        f'<circle cx="{x + 3 * (-1) ** i * (i % 3) / 2:.1f}" cy="{_y(value):.1f}" r="1.5" fill="{colour}"/>'
        for i, value in enumerate(values)
    ]
    return parts


@dataclass(frozen=True)
class Line:
    """A curve through ``points`` (x, y), y from 0 to 1, and the ``band`` (x, lower, upper) that is shaded about it."""

    series: int
    points: Sequence[tuple[float, float]]
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()


def line_plot(lines: Sequence[Line], series: Sequence[str], across: str, upwards: str, largest: float = 1.0) -> Markup:
    """Curves and their points; the vertical axis runs from 0 to 1, the horizontal one from 0 to ``largest``."""
    size = 220
    width, height = _LEFT + size + _RIGHT + 6, _TOP + _PLOT_HEIGHT + 34
    parts = _frame(width - 6, upwards)
    for tick in range(5):
        x, label = _LEFT + size * tick / 4, f"{largest * tick / 4:g}"
        parts.append(f'<text x="{x:.1f}" y="{_TOP + _PLOT_HEIGHT + 14}" text-anchor="middle">{label}</text>')
    parts.append(
        f'<text x="{_LEFT + size / 2}" y="{_TOP + _PLOT_HEIGHT + 29}" text-anchor="middle">{escape(across)}</text>'
    )
    for line in lines:
        colour = COLOURS[line.series % len(COLOURS)]
        places = [(_LEFT + size * x / largest, _y(y)) for x, y in line.points]
        if line.band:
            limits = [(x, low) for x, low, _ in line.band] + [(x, high) for x, _, high in reversed(line.band)]
            around = " ".join(f"{_LEFT + size * x / largest:.1f},{_y(y):.1f}" for x, y in limits)
            parts.append(f'<polygon points="{around}" fill="{colour}" fill-opacity=".14"/>')
        dash = ' stroke-dasharray="4 3"' if line.dashed else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{colour}"/>' for x, y in places]
    return _svg(width, height, parts, series)


def _frame(width: float, axis: str) -> list[str]:
    parts = []
    for tick in range(6):
        y = _y(tick / 5)
        parts.append(_line(_LEFT, y, width - _RIGHT, y, "#dfe5ea"))
        parts.append(f'<text x="{_LEFT - 5}" y="{y + 3.5:.1f}" text-anchor="end">{tick / 5:.1f}</text>')
    middle = _y(0.5)
    parts.append(f'<text transform="translate(11 {middle}) rotate(-90)" text-anchor="middle">{escape(axis)}</text>')
    return parts


def _y(value: float) -> float:
    return _TOP + _PLOT_HEIGHT * (1 - value)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, width: float = 1) -> str:
    return f'<path d="M{x1:.1f} {y1:.1f}L{x2:.1f} {y2:.1f}" stroke="{colour}" stroke-width="{width}"/>'


def _svg(width: float, height: float, parts: Sequence[str], series: Sequence[str]) -> Markup:
    legend = []
    for number, name in enumerate(series if len(series) > 1 else ()):
        y = height + 10 + 14 * number
        legend.append(f'<rect x="{_LEFT}" y="{y - 8}" width="9" height="9" fill="{COLOURS[number % len(COLOURS)]}"/>')
        legend.append(f'<text x="{_LEFT + 14}" y="{y}">{escape(name)}</text>')
    height += 14 * len(legend) / 2 + (4 if legend else 0)
    return Markup(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" width="{width:.0f}" '
        f'height="{height:.0f}" role="img" font-size="10" fill="#1c2733">{"".join([*parts, *legend])}</svg>'
    )
