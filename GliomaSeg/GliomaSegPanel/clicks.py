"""Corrections by a click in a slice view, or by a key while the mouse is over one."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from GliomaSegLib.labels import Label
from GliomaSegLib.scene.clicking import add_at, remove_at
from GliomaSegLib.scene.edits import Edits
from GliomaSegPanel.decisions.result import can_click
from GliomaSegPanel.decisions.situation import Situation
from GliomaSegPanel.decisions.titles import VOLUME_TITLES
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.views import cursor_ras_mm

_LABELS = (Label.ET, Label.SNFH, Label.NETC)


class Clicks:
    """The buttons Add and Remove: while one is pressed, each click in a slice view adds or removes a part."""

    def __init__(self, panel: Panel, change: Callable[[Callable[[Edits], int]], None]) -> None:
        self._panel, self._change = panel, change
        self._ui = panel.ui
        self._observed: list[tuple[object, int]] = []
        for label in _LABELS:
            self._ui.clickLabelComboBox.addItem(VOLUME_TITLES[label.name], int(label))
        self._ui.clickLabelComboBox.currentIndex = 0
        self._buttons = {self._ui.addByClickButton: self.add, self._ui.removeByClickButton: self.remove}
        for button in self._buttons:
            button.connect("toggled(bool)", lambda on, pressed=button: self._on_toggled(pressed, on))

    def show(self, situation: Situation) -> None:
        """Update the buttons."""
        answer = can_click(situation)
        for button in self._buttons:
            button.enabled = answer.allowed
            if not answer.allowed:
                button.checked = False
        self._ui.clickLabelComboBox.enabled = answer.allowed
        self._ui.clickHintLabel.text = answer.reason

    def add(self) -> None:
        """Add the missed part of the tumour under the mouse."""
        self._at_cursor(self.add_at)

    def remove(self) -> None:
        """Remove the part under the mouse."""
        self._at_cursor(self.remove_at)

    def add_at(self, ras_mm: tuple[float, float, float]) -> None:
        """Add the missed part of the tumour at a point."""
        label = Label(self._ui.clickLabelComboBox.itemData(self._ui.clickLabelComboBox.currentIndex))
        self._change(lambda edits: add_at(edits, ras_mm, label))

    def remove_at(self, ras_mm: tuple[float, float, float]) -> None:
        """Remove the part at a point."""
        self._change(lambda edits: remove_at(edits, ras_mm))

    def stop(self) -> None:
        """Release the buttons, when another module is opened or the scene is closed."""
        for button in self._buttons:
            button.checked = False

    def _at_cursor(self, change: Callable[[tuple[float, float, float]], None]) -> None:
        ras_mm = cursor_ras_mm()
        if ras_mm is not None and can_click(self._panel.situation()).allowed:
            change(ras_mm)

    def _on_toggled(self, button: object, on: bool) -> None:
        for interactor, tag in self._observed:
            interactor.RemoveObserver(tag)
        self._observed = []
        if not on:
            return
        for other in self._buttons:
            if other is not button:
                other.checked = False
        manager = slicer.app.layoutManager()
        for name in manager.sliceViewNames():
            interactor = manager.sliceWidget(name).sliceView().interactor()
            tag = interactor.AddObserver("LeftButtonPressEvent", lambda _caller, _event: self._buttons[button]())
            self._observed.append((interactor, tag))
