"""The overlay of the tumour's probability in the slice views (section Result)."""

from __future__ import annotations

from collections.abc import Callable

import slicer

from GliomaSegLib.scene.attributes import OVERLAY_OF
from GliomaSegLib.scene.threshold import show_probability
from GliomaSegPanel.panel import Panel

PROBABILITY_COLOURS = "vtkMRMLColorTableNodeFileInferno.txt"


class ProbabilityOverlay:
    """A volume in the foreground of the slice views while the box Probability is checked.

    Args:
        on_toggled: called after it is shown or removed.
    """

    def __init__(self, panel: Panel, on_toggled: Callable[[], None]) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._on_toggled = on_toggled
        self._volume: slicer.vtkMRMLScalarVolumeNode | None = None
        self._ui.overlayCheckBox.connect("toggled(bool)", self._on_box)
        self._ui.overlaySlider.connect("valueChanged(double)", self._on_opacity)

    @property
    def is_shown(self) -> bool:
        """Whether it is in the views."""
        return self._volume is not None

    def show(self) -> None:
        """Update the controls."""
        self._ui.overlaySlider.enabled = self._ui.overlayCheckBox.checked

    def remove(self) -> None:
        """Remove it from the views and the scene."""
        if self._volume is not None and slicer.mrmlScene.IsNodePresent(self._volume):
            slicer.util.setSliceViewerLayers(foreground=None, foregroundOpacity=0)
            slicer.mrmlScene.RemoveNode(self._volume)
        self.forget_scene()

    def forget_scene(self) -> None:
        """Called when the scene is closed with all its nodes."""
        self._volume = None
        self._ui.overlayCheckBox.checked = False

    def _on_box(self, checked: bool) -> None:
        node = self._panel.result.node
        with self._panel.errors_shown():
            if checked and node is not None and self._volume is None:
                self._volume = show_probability(slicer.mrmlScene, node)
                self._volume.SetAttribute(OVERLAY_OF, node.GetID())
                self._volume.SetSaveWithScene(False)
                self._volume.GetDisplayNode().SetAndObserveColorNodeID(PROBABILITY_COLOURS)
                slicer.util.setSliceViewerLayers(foreground=self._volume)
                self._on_opacity(self._ui.overlaySlider.value)
            elif not checked:
                self.remove()
            self._on_toggled()
        self._panel.refresh()

    def _on_opacity(self, opacity: float) -> None:
        if self._volume is not None:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)
