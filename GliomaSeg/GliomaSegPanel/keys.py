"""The keys of a review, active while the panel is open and the Segment Editor, which has its own, is not."""

from __future__ import annotations

from collections.abc import Callable

import qt
import slicer

KEYS = {
    "next": "N", "previous": "P", "accept": "A", "delete": "Del", "outlines": "O", "undo": "Ctrl+Z", "redo": "Ctrl+Y",
    "add": "I", "remove": "X",
}  # fmt: skip
"""What a key does, as the tooltips of the buttons name it. Text fields take the letters for themselves."""


class Keys:
    """Shortcuts of Slicer's main window.

    Args:
        actions: what each of :data:`KEYS` does.
    """

    def __init__(self, actions: dict[str, Callable[[], None]]) -> None:
        self._shortcuts = []
        for name, key in KEYS.items():
            shortcut = qt.QShortcut(qt.QKeySequence(key), slicer.util.mainWindow())
            shortcut.connect("activated()", actions[name])
            self._shortcuts.append(shortcut)
        self.enable(False)

    def enable(self, enabled: bool) -> None:
        """Switch all of them on or off."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(enabled)

    def remove(self) -> None:
        """The panel is destroyed."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
            shortcut.deleteLater()
        self._shortcuts = []
