"""Text in the panel's tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import qt

ROW_PIXELS, MOST_ROWS = 22, 8


def fit_columns(table: qt.QTableWidget, stretched: int) -> None:
    """Make columns as wide as their text, but for one that takes the remaining width."""
    table.verticalHeader().visible = False
    table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    table.horizontalHeader().setHighlightSections(False)  # a bold title is cut off
    table.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)


def mark_row(item: qt.QTableWidgetItem, checked: bool, colour: tuple[int, ...] | None) -> None:
    """Give the first cell of a row a box that can be checked, and a square of a colour (red, green, blue)."""
    item.setCheckState(qt.Qt.Checked if checked else qt.Qt.Unchecked)
    if colour is not None:
        item.setData(qt.Qt.DecorationRole, qt.QColor(*colour))


def fill_table(table: qt.QTableWidget, rows: Iterable[Sequence[str]]) -> None:
    """Write text into a table and make it just as high as its rows need."""
    rows = list(rows)
    table.setRowCount(len(rows))
    for position, row in enumerate(rows):
        for column, text in enumerate(row):
            item = qt.QTableWidgetItem(text)
            numeric = text[:1].isdigit() or text in ("–", "< 0.1") or text.endswith("%")
            item.setTextAlignment((qt.Qt.AlignRight if numeric and column else qt.Qt.AlignLeft) | qt.Qt.AlignVCenter)
            table.setItem(position, column, item)
    shown = min(len(rows), MOST_ROWS)
    table.setFixedHeight(table.horizontalHeader().sizeHint.height() + shown * ROW_PIXELS + 2)
