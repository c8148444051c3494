"""The section Correct: Slicer's Segment Editor on the result, and updated measures when it is closed."""

from __future__ import annotations

import slicer

from GliomaSegLib.scene.segmentation import reference_of
from GliomaSegPanel.decisions.result import can_edit, can_finish, can_measure
from GliomaSegPanel.decisions.situation import Situation
from GliomaSegPanel.panel import Panel

# The tools that matter for tumours, in the order of use.
EFFECTS = (
    *("Paint", "Draw", "Erase", "Scissors", "Islands", "Margin", "Smoothing", "Threshold", "Grow from seeds"),
    "Fill between slices",
)

_EDITOR_TAG = "GliomaSeg"


class CorrectSection:
    """Opens and closes the embedded Segment Editor."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self.editing = False
        self._editor = self._ui.segmentEditor
        self._editor.setEffectNameOrder(list(EFFECTS))
        self._editor.unorderedEffectsVisible = False
        self._ui.startEditingButton.connect("clicked()", self.start)
        self._ui.finishEditingButton.connect("clicked()", self.finish)

    def show(self, situation: Situation) -> None:
        """Update the section."""
        self._panel.set_enabled(self._ui.startEditingButton, can_edit(situation))
        self._ui.startEditingButton.visible = not self.editing
        self._editor.visible = self.editing
        self._ui.finishEditingButton.visible = self.editing
        self._panel.set_enabled(self._ui.finishEditingButton, can_finish(situation))

    def start(self) -> None:
        """Open the editor on the result, with its reference image as the source."""
        self._panel.result.commit_threshold()
        node = self._panel.result.node
        self._editor.setMRMLSegmentEditorNode(_editor_node())
        self._editor.setMRMLScene(slicer.mrmlScene)
        self._editor.setSegmentationNode(node)
        self._editor.setSourceVolumeNode(reference_of(node))
        self.editing = True
        self.resume()
        self._panel.refresh()

    def finish(self) -> None:
        """Close the editor, and update measures, report and files, if there are any."""
        self.close()
        if can_measure(self._panel.situation()).allowed:
            self._panel.result.measure()

    def pause(self) -> None:
        """Deactivate the editor's tools in the views, when another module is opened."""
        if self.editing:
            self._editor.setActiveEffect(None)
            self._editor.uninstallKeyboardShortcuts()
            self._editor.removeViewObservations()

    def resume(self) -> None:
        """Activate the editor's tools, when the panel is opened again."""
        if self.editing:
            self._editor.setupViewObservations()
            self._editor.installKeyboardShortcuts()

    def close(self) -> None:
        """Close the editor and leave no tool behind in the views."""
        if not self.editing:
            return
        self.pause()
        self._editor.setSegmentationNode(None)
        self.editing = False
        self._panel.refresh()


def _editor_node() -> slicer.vtkMRMLSegmentEditorNode:
    """The parameter node of the panel's editor, separate from that of the module Segment Editor. Labels are exclusive:
    painting overwrites all segments; there is no mask at first."""
    node = slicer.mrmlScene.GetSingletonNode(_EDITOR_TAG, "vtkMRMLSegmentEditorNode")
    if node is None:
        node = slicer.vtkMRMLSegmentEditorNode()
        node.SetSingletonTag(_EDITOR_TAG)
        node = slicer.mrmlScene.AddNode(node)
    node.SetOverwriteMode(slicer.vtkMRMLSegmentEditorNode.OverwriteAllSegments)
    node.SetMaskMode(slicer.vtkMRMLSegmentationNode.EditAllowedEverywhere)
    node.SourceVolumeIntensityMaskOff()
    return node
