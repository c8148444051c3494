"""An imitation of the Qt, ctk and qMRML widgets of the module's panel, with PythonQt's conventions.

Properties are attributes, signals are connected by their signature. It does as much as the panel and the module's
self-test use; it draws nothing and checks no layout.
"""

from __future__ import annotations

import time
import types
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
UI = ROOT / "GliomaSeg" / "Resources" / "UI" / "GliomaSeg.ui"

# The signal that a change of a property emits.
_SIGNALS = {
    "checked": "toggled(bool)",
    "value": "valueChanged(double)",
    "currentPath": "currentPathChanged(QString)",
    "text": "textChanged(QString)",
}
_DEFAULTS = {
    "visible": True, "enabled": True, "checked": False, "collapsed": False, "toolTip": "", "text": "",
    "currentPath": "", "value": 0.0, "maximum": 100, "currentIndex": -1, "html": "",
}  # fmt: skip


class Widget:
    """Any widget: properties with their signals, slots, and methods that do nothing."""

    def __init__(self, **properties: Any) -> None:
        self.__dict__.update(_DEFAULTS | properties, _slots={}, _blocked=False, _dynamic={})

    def __setattr__(self, name: str, value: Any) -> None:
        changed = self.__dict__.get(name) != value
        self.__dict__[name] = value
        if changed and name in _SIGNALS:
            self.emit(_SIGNALS[name], value)

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        return lambda *arguments: None

    def connect(self, signal: str, slot: Callable[..., Any]) -> None:
        """Call ``slot`` when ``signal`` is emitted."""
        self._slots.setdefault(signal, []).append(slot)

    def emit(self, signal: str, *arguments: Any) -> None:
        """Call the slots of a signal."""
        if not self._blocked:
            for slot in self._slots.get(signal, ()):
                slot(*arguments)

    def blockSignals(self, blocked: bool) -> bool:  # noqa: N802
        """See QObject."""
        before, self._blocked = self._blocked, blocked
        return before

    def click(self) -> None:
        """Press a button that is enabled."""
        if self.enabled:
            self.emit("clicked()")

    def property(self, name: str) -> Any:
        """See QObject."""
        return self._dynamic.get(name)

    def setProperty(self, name: str, value: Any) -> None:  # noqa: N802
        """See QObject."""
        self._dynamic[name] = value


class ComboBox(Widget):
    """QComboBox with data."""

    def __init__(self, **properties: Any) -> None:
        super().__init__(**properties)
        self.clear()

    def clear(self) -> None:
        self._items: list[list[Any]] = []

    def addItem(self, text: str, data: Any = None) -> None:  # noqa: N802
        self._items.append([text, data])

    def setItemData(self, row: int, data: Any, role: Any = None) -> None:  # noqa: N802
        if role is None:
            self._items[row][1] = data

    def itemData(self, row: int) -> Any:  # noqa: N802
        return self._items[row][1]

    def findData(self, data: Any) -> int:  # noqa: N802
        return next((row for row, item in enumerate(self._items) if item[1] == data), -1)


class Table(Widget):
    """QTableWidget of text, in which one row may be selected."""

    def __init__(self, **properties: Any) -> None:
        super().__init__(rowCount=0, _cells={}, _hidden=set(), _selected=-1, **properties)

    def horizontalHeader(self) -> Widget:  # noqa: N802
        return Widget(sizeHint=types.SimpleNamespace(height=lambda: 20))

    verticalHeader = horizontalHeader  # noqa: N815

    def setRowCount(self, count: int) -> None:  # noqa: N802
        self.rowCount = count
        self._cells = {}
        if self._selected >= count:
            self._selected = -1

    def setItem(self, row: int, column: int, item: Any) -> None:  # noqa: N802
        self._cells[row, column] = item
        item.row, item.changed = lambda: row, lambda: self.emit("itemChanged(QTableWidgetItem*)", item)

    def item(self, row: int, column: int) -> Any:
        return self._cells[row, column]

    def setColumnHidden(self, column: int, hidden: bool) -> None:  # noqa: N802
        (self._hidden.add if hidden else self._hidden.discard)(column)

    def isColumnHidden(self, column: int) -> bool:  # noqa: N802
        return column in self._hidden

    def selectRow(self, row: int) -> None:  # noqa: N802
        self._selected = row
        self.emit("itemSelectionChanged()")

    def clearSelection(self) -> None:  # noqa: N802
        self._selected = -1
        self.emit("itemSelectionChanged()")

    def selectedItems(self) -> list[int]:  # noqa: N802
        return [self._selected] if self._selected >= 0 else []

    def currentRow(self) -> int:  # noqa: N802
        return self._selected


class TableItem:
    """QTableWidgetItem."""

    def __init__(self, text: str) -> None:
        self._text = text

    def text(self) -> str:
        return self._text

    def setToolTip(self, text: str) -> None:  # noqa: N802
        self.toolTip = text

    def setTextAlignment(self, alignment: int) -> None:  # noqa: N802
        """Not drawn."""

    def setCheckState(self, state: int) -> None:  # noqa: N802
        self._state = state
        self.changed()

    def checkState(self) -> int:  # noqa: N802
        return self._state

    def setData(self, role: int, value: Any) -> None:  # noqa: N802
        self.data = value


class NodeSelector(Widget):
    """qMRMLNodeComboBox, whose node is that of the bound parameter."""

    def setCurrentNode(self, node: Any) -> None:  # noqa: N802
        self._current = node
        self.emit("nodeActivated(vtkMRMLNode*)", node)

    def currentNode(self) -> Any:  # noqa: N802
        return self.__dict__.get("_current")


class SegmentEditor(Widget):
    """qMRMLSegmentEditorWidget, as far as it keeps nodes."""

    def setSourceVolumeNode(self, node: Any) -> None:  # noqa: N802
        self._source = node

    def sourceVolumeNode(self) -> Any:  # noqa: N802
        return self._source


class Timer:
    """QTimer; it runs in :func:`process_events`."""

    running: list[Timer] = []  # noqa: RUF012 - all timers of the application

    def __init__(self) -> None:
        self._single, self._interval_s, self._slots, self._due = False, 0.0, [], 0.0

    def setSingleShot(self, single: bool) -> None:  # noqa: N802
        self._single = single

    def setInterval(self, milliseconds: int) -> None:  # noqa: N802
        self._interval_s = milliseconds / 1000

    def connect(self, signal: str, slot: Callable[[], None]) -> None:
        self._slots.append(slot)

    def start(self) -> None:
        self._due = time.monotonic() + self._interval_s
        if self not in Timer.running:
            Timer.running.append(self)

    def stop(self) -> None:
        if self in Timer.running:
            Timer.running.remove(self)

    @staticmethod
    def singleShot(milliseconds: int, slot: Callable[[], None]) -> None:  # noqa: N802
        timer = Timer()
        timer.setSingleShot(True)
        timer.setInterval(milliseconds)
        timer.connect("timeout()", slot)
        timer.start()

    def fire_if_due(self) -> None:
        """Call the slots when the time has come."""
        if self not in Timer.running or time.monotonic() < self._due:
            return
        if self._single:
            self.stop()
        else:
            self._due = time.monotonic() + self._interval_s
        for slot in self._slots:
            slot()


def process_events() -> None:
    """Run the timers that are due."""
    for timer in list(Timer.running):
        timer.fire_if_due()


def qt_module() -> types.ModuleType:
    """The module ``qt``, as far as the panel uses it."""
    qt = types.ModuleType("qt")
    qt.QTimer, qt.QTableWidget, qt.QTableWidgetItem = Timer, Table, TableItem
    qt.QMenu = lambda parent: Widget(addAction=lambda title: Widget(text=title))
    qt.Qt = types.SimpleNamespace(
        AlignLeft=1, AlignRight=2, AlignVCenter=128, ScrollBarAlwaysOff=1, ToolTipRole=3, Checked=2, Unchecked=0,
        DecorationRole=1,
    )  # fmt: skip
    qt.QColor, qt.QKeySequence = (lambda *parts: parts), str
    qt.QShortcut = lambda key, window: Widget(key=key)
    qt.QHeaderView = types.SimpleNamespace(ResizeToContents=3, Stretch=1)
    qt.QFileDialog = types.SimpleNamespace(getExistingDirectory=None, getOpenFileName=None)
    qt.QStandardPaths = types.SimpleNamespace(DocumentsLocation=1, writableLocation=lambda place: str(Path.home()))
    qt.QUrl = types.SimpleNamespace(fromLocalFile=lambda path: types.SimpleNamespace(toString=lambda: f"file://{path}"))
    qt.QDesktopServices = types.SimpleNamespace(openUrl=lambda url: None)
    return qt


def widgets() -> types.SimpleNamespace:
    """The widgets of the panel's ``.ui`` file by their names, with the texts and tooltips of the file."""
    kinds = {
        "QComboBox": ComboBox, "QTableWidget": Table, "qMRMLNodeComboBox": NodeSelector,
        "qMRMLSegmentEditorWidget": SegmentEditor,
    }  # fmt: skip
    found = {}
    for element in ElementTree.parse(UI).iter("widget"):
        properties = {}
        for name in ("text", "toolTip"):
            value = element.find(f"property[@name='{name}']/string")
            properties[name] = (value.text or "") if value is not None else ""
        checked = element.find("property[@name='checked']/bool")
        value = element.find("property[@name='value']/double")
        properties["checked"] = checked is not None and checked.text == "true"
        properties["value"] = float(value.text) if value is not None else 0.0
        found[element.get("name")] = widget = kinds.get(element.get("class"), Widget)(**properties)
        widget.setProperty("SlicerParameterName", element.findtext("property[@name='SlicerParameterName']/string"))
    return types.SimpleNamespace(**found)
