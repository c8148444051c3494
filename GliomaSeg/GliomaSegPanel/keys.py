"""Keyboard shortcuts for the review, active while the panel is open and the Segment Editor is closed."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

KEYS = {
    "next": "N", "previous": "P", "accept": "A", "delete": "Del", "outlines": "O", "undo": "Z", "redo": "Y",
    "add": "I", "remove": "X",
}  # fmt: skip
"""Keys by action, as in the tooltips; Z and Y as in the Segment Editor. Text fields receive letters first."""


class Keys:
    """Shortcuts of Slicer's main window.

    Args:
        actions: functions by the names in :data:`KEYS`.
    """

    def __init__(self, actions: dict[str, Callable[[], None]]) -> None:
        window = slicer.util.mainWindow()
        self._shortcuts = []
        for name, key in KEYS.items() if window is not None else ():  # there is none in a test without a window
            shortcut = qt.QShortcut(qt.QKeySequence(key), window)
            shortcut.connect("activated()", actions[name])
            self._shortcuts.append(shortcut)
        self.enable(False)

    def enable(self, enabled: bool) -> None:
        """Enable or disable all shortcuts."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(enabled)

    def remove(self) -> None:
        """Remove the shortcuts, when the panel is destroyed."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []
