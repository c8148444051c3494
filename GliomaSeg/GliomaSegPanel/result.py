"""The section Result: volumes and lesions of a segmentation, its display, and its threshold."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import qt
import slicer

from GliomaSegLib.case import StudyIdentity
from GliomaSegLib.scene.brain_surface import has_brain, show_brain
from GliomaSegLib.scene.edit_state import restore_if_unchanged
from GliomaSegLib.scene.edits import Edits
from GliomaSegLib.scene.keeping import manifest_of
from GliomaSegLib.scene.lesions import Lesion, accept_lesion, delete_lesion, lesion_thresholded, lesions_of
from GliomaSegLib.scene.segmentation import reference_of
from GliomaSegLib.scene.threshold import MODEL_THRESHOLD, Rethreshold
from GliomaSegLib.scene.views import show_everywhere, show_sequences
from GliomaSegLib.scene.visibility import colour_of, is_visible, set_visible, show_only
from GliomaSegPanel.clicks import Clicks
from GliomaSegPanel.decisions.result import (
    VolumeRow,
    can_change_lesion,
    can_measure,
    can_redo,
    can_threshold,
    can_undo,
    identity_of,
    image_text,
    lesion_row,
    sequence_titles,
    volume_rows,
)
from GliomaSegPanel.decisions.situation import Answer, Situation, Work
from GliomaSegPanel.decisions.titles import identity_line
from GliomaSegPanel.overlay import ProbabilityOverlay
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.tables import fill_table, fit_columns, mark_row
from GliomaSegPanel.translation import _
from GliomaSegPanel.views import LinkedLayout, centre_3d, jump_to

# Interval of previews while the slider moves; one takes about 50 ms.
PREVIEW_MS = 60
# Lesions are listed again this long after the last change of the segmentation.
QUIET_MS = 400

FILL_OPACITY = 0.35


class ResultSection:
    """Shows one segmentation, that of the parameter node."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._edits: Edits | None = None
        self._rethreshold: Rethreshold | None = None
        self._lesions: list[Lesion] = []
        self._identity = StudyIdentity()
        self._surfaces_wanted = False
        self._brain: slicer.vtkMRMLModelNode | None = None
        self._preview_later = _single_shot(PREVIEW_MS, self._on_preview)
        self._update_later = _single_shot(QUIET_MS, self._on_quiet)
        self._overlay = ProbabilityOverlay(panel, on_toggled=self._show_fill)
        self._views, self._outlines_before = LinkedLayout(), None
        self.clicks = Clicks(panel, self._change)
        self._rows: tuple[VolumeRow, ...] = ()
        fit_columns(self._ui.volumesTable, stretched=0)
        fit_columns(self._ui.lesionsTable, stretched=5)
        self._ui.outlineCheckBox.connect("toggled(bool)", lambda _on: self._show_fill())
        self._ui.sequenceViewsButton.connect("toggled(bool)", self._on_views)
        self._ui.show3DButton.connect("toggled(bool)", lambda _on: centre_3d())
        self._ui.brainCheckBox.connect("toggled(bool)", self._on_brain)
        self._ui.volumesTable.connect("itemChanged(QTableWidgetItem*)", self._on_eye)
        self._ui.lesionsTable.connect("itemSelectionChanged()", self._on_lesion_selected)
        self._ui.acceptLesionButton.connect("clicked()", self._on_accept)
        self._ui.deleteLesionButton.connect("clicked()", self._on_delete)
        self._ui.undoButton.connect("clicked()", lambda: self._change(Edits.undo))
        self._ui.redoButton.connect("clicked()", lambda: self._change(Edits.redo))
        self._ui.measureButton.connect("clicked()", self.measure)
        self._ui.thresholdSlider.connect("valueChanged(double)", lambda _value: self._preview_later.start())
        self._ui.thresholdLesionCheckBox.connect("toggled(bool)", lambda _on: self.commit_threshold())
        self._ui.thresholdResetButton.connect("clicked()", self._reset_slider)

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that is shown."""
        return self._node

    @property
    def can_undo(self) -> bool:
        """Whether the last change of this section can be undone."""
        return self._slider_is_off or (self._edits is not None and self._edits.can_undo)

    @property
    def shows_sequences(self) -> bool:
        """Whether the layout with a view per modality is shown."""
        return self._ui.sequenceViewsButton.checked

    @property
    def can_redo(self) -> bool:
        """Whether the last undone change can be redone."""
        return self._edits is not None and self._edits.can_redo

    @property
    def lesions(self) -> tuple[Lesion, ...]:
        """The lesions as they are listed, largest first."""
        return tuple(self._lesions)

    @property
    def lesion(self) -> Lesion | None:
        """The selected lesion."""
        row = self._ui.lesionsTable.currentRow() if self._ui.lesionsTable.selectedItems() else -1
        return self._lesions[row] if 0 <= row < len(self._lesions) else None

    def set_node(self, node: slicer.vtkMRMLSegmentationNode | None) -> None:
        """Show another segmentation, or none."""
        if node is self._node:
            return
        self.commit_threshold()
        self._overlay.remove()
        self._ui.brainCheckBox.checked = False
        self._node, self._edits, self._lesions = node, Edits(node) if node else None, []
        self._ui.show3DButton.setSegmentationNode(node)
        self._surfaces_wanted = False
        if node is not None:
            show_only(node)
            show_everywhere(node)
        self._show_fill()
        self.show_measures()
        if node is None:
            self._ui.sequenceViewsButton.checked = False
        elif self.shows_sequences:
            self._on_views(True)

    def show(self, situation: Situation) -> None:
        """Update the section."""
        shown = situation.shown
        self._ui.resultFrame.visible = shown is not None
        self._ui.resultIdentityLabel.visible = bool(self._ui.resultIdentityLabel.text) and situation.keeps_identity
        self._overlay.show()
        self._ui.brainCheckBox.visible = self._node is not None and has_brain(self._node)
        self._ui.thresholdGroup.visible = bool(shown and shown.thresholdable)
        outline = can_threshold(situation)
        self._ui.thresholdGroup.toolTip = outline.reason
        self._ui.thresholdSlider.enabled = self._ui.thresholdResetButton.enabled = outline.allowed
        self._ui.thresholdLesionCheckBox.enabled = outline.allowed and self.lesion is not None
        for button, does in (
            (self._ui.acceptLesionButton, _("The lesion is right as it is; kept with the scene. Key: A")),
            (self._ui.deleteLesionButton, _("Take the lesion out of the segmentation. Key: Delete")),
        ):
            answer = can_change_lesion(situation)
            self._panel.set_enabled(button, answer if not answer.allowed else Answer(True, does))
        accepted = self.lesion is not None and self.lesion.accepted
        self._ui.acceptLesionButton.text = _("Not accepted") if accepted else _("Accept")
        self._panel.set_enabled(self._ui.undoButton, can_undo(situation))
        self._panel.set_enabled(self._ui.redoButton, can_redo(situation))
        self.clicks.show(situation)
        stale = shown is not None and shown.edited and not situation.editing
        self._ui.staleLabel.visible = self._ui.measureButton.visible = stale
        self._ui.volumesTable.enabled = not (shown and shown.edited)
        self._panel.set_enabled(self._ui.measureButton, can_measure(situation))

    def show_measures(self) -> None:
        """Fill the tables from the last measures and the present segmentation."""
        measures = self._panel.logic.measuresOf(self._node) if self._node else None
        self._rows = volume_rows(measures) if measures else ()
        manifest = (manifest_of(self._node) or {}) if self._node else {}
        self._identity = identity_of(manifest)
        self._ui.resultIdentityLabel.text = identity_line(self._identity)
        self._ui.resultIdentityLabel.toolTip = "\n".join(sequence_titles(manifest))
        table, node = self._ui.volumesTable, self._node
        blocked = table.blockSignals(True)
        fill_table(table, [row[1:] for row in self._rows])
        if node is not None and node.GetDisplayNode() is not None:
            with self._panel.errors_shown():
                for position, row in enumerate(self._rows):
                    mark_row(table.item(position, 0), is_visible(node, row.name), colour_of(node, row.name))
        table.blockSignals(blocked)
        self._list_lesions()

    def _on_eye(self, item: object) -> None:
        row = self._rows[item.row()]
        set_visible(self._node, row.name, item.checkState() == qt.Qt.Checked)
        qt.QTimer.singleShot(0, self.show_measures)  # the check boxes of other regions with the same part change too

    def measure(self) -> None:
        """Update measures, report and files from the present segmentation."""
        self.commit_threshold()
        node, logic = self._node, self._panel.logic
        self._panel.begin(Work.MEASURE, lambda: logic.measure(node, wait=False), self._on_measured)

    def _on_measured(self, _result: object) -> None:
        self.show_measures()
        self._panel.show_message(_("Measures, report and files follow the segmentation."))

    def on_edited(self) -> None:
        """Called when the segmentation has changed."""
        self._update_later.start()

    def commit_threshold(self) -> None:
        """Make the previewed threshold an edit, and reset the slider."""
        self._preview_later.stop()
        rethreshold, self._rethreshold = self._rethreshold, None
        if rethreshold is not None:
            rethreshold.keep()
            self._list_lesions()
        blocked = self._ui.thresholdSlider.blockSignals(True)
        self._reset_slider()
        self._ui.thresholdSlider.blockSignals(blocked)

    def forget_scene(self) -> None:
        """Called when the scene is closed with all its nodes."""
        self._preview_later.stop()
        self._update_later.stop()
        self._rethreshold = self._node = self._edits = self._brain = None
        self._lesions = []
        self._ui.brainCheckBox.checked = False
        self.clicks.stop()
        self._ui.sequenceViewsButton.checked = False
        self._ui.show3DButton.setSegmentationNode(None)
        self._overlay.forget_scene()

    def _keep_surfaces(self) -> None:
        """Call before an edit, at which Slicer removes 3D surfaces: shown ones are made again after it."""
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        self._surfaces_wanted = self._surfaces_wanted or self._node.GetSegmentation().ContainsRepresentation(surface)

    def _on_quiet(self) -> None:
        if self._surfaces_wanted and self._node is not None:
            self._node.CreateClosedSurfaceRepresentation()
        self._surfaces_wanted = False
        with self._panel.errors_shown():
            if self._node is not None:
                restore_if_unchanged(self._node)
        self._list_lesions()

    # --- lesions -----------------------------------------------------------------------------------------------------

    def _list_lesions(self) -> None:
        selected = self.lesion.id if self.lesion else None
        with self._panel.errors_shown():
            measures = self._panel.logic.measuresOf(self._node) if self._node else None
            self._lesions = lesions_of(self._node, measures) if self._node else []
        blocked = self._ui.lesionsTable.blockSignals(True)
        fill_table(self._ui.lesionsTable, [lesion_row(lesion) for lesion in self._lesions])
        axial = bool(measures) and measures["slice_axis"] == 2  # only then are the slices images of the series
        numbers = self._identity.image_numbers if axial else ()
        for row, lesion in enumerate(self._lesions):
            self._ui.lesionsTable.item(row, 0).setToolTip(image_text(lesion.slice, numbers))
        if selected is not None and selected <= len(self._lesions):
            self._ui.lesionsTable.selectRow(selected - 1)
        self._ui.lesionsTable.blockSignals(blocked)
        self._panel.refresh()

    def _on_lesion_selected(self) -> None:
        self.commit_threshold()
        if self.lesion is not None:
            jump_to(self.lesion.centre_ras_mm)
        self._panel.refresh()

    def _on_accept(self) -> None:
        with self._panel.errors_shown():
            self.commit_threshold()
            accept_lesion(self._node, self.lesion, not self.lesion.accepted)
            self._list_lesions()

    def _on_delete(self) -> None:
        with self._panel.errors_shown():
            lesion = self.lesion
            self._change(lambda edits: delete_lesion(edits, lesion))
            self._ui.lesionsTable.clearSelection()

    def step(self, by: int) -> None:
        """Select the next (1) or previous (-1) lesion; the views jump to it."""
        count = len(self._lesions)
        if count:
            row = self.lesion.id - 1 + by if self.lesion else (0 if by > 0 else count - 1)
            self._ui.lesionsTable.selectRow(row % count)

    def _change(self, change: Callable[[Edits], object]) -> None:
        """Change the segmentation in one step."""
        with self._panel.errors_shown():
            self.commit_threshold()
            self._keep_surfaces()
            change(self._edits)
            self._list_lesions()

    # --- outline -----------------------------------------------------------------------------------------------------

    @property
    def _slider_is_off(self) -> bool:
        """Whether the slider was moved from the model's threshold."""
        return self._ui.thresholdSlider.value != 100 * MODEL_THRESHOLD

    def _reset_slider(self) -> None:
        self._ui.thresholdSlider.value = 100 * MODEL_THRESHOLD

    def _on_preview(self) -> None:
        with self._panel.errors_shown():
            if self._rethreshold is None and self._slider_is_off:
                one = self._ui.thresholdLesionCheckBox.checked and self.lesion is not None
                change = (lesion_thresholded(self._node, self.lesion),) if one else ()
                self._rethreshold = Rethreshold(self._edits, *change)
            if self._rethreshold is not None:
                self._keep_surfaces()
                self._rethreshold.preview(self._ui.thresholdSlider.value / 100)
        self._panel.refresh()

    def _on_views(self, on: bool) -> None:
        """Show a view per modality, with outlines, or restore the layout and filling from before."""
        box = self._ui.outlineCheckBox
        if on and self._node is not None:
            if self._outlines_before is None:
                self._outlines_before = box.checked
            box.checked = True
            point = self.lesion or next(iter(self._lesions), None)
            centre = point and point.centre_ras_mm
            self._views.show(partial(show_sequences, self._node), reference_of(self._node), centre)
        elif self._outlines_before is not None:
            self._views.leave()
            box.checked, self._outlines_before = self._outlines_before, None

    def _on_brain(self, on: bool) -> None:
        """Show or remove the brain surface in the 3D view."""
        if self._brain is not None and slicer.mrmlScene.IsNodePresent(self._brain):
            slicer.mrmlScene.RemoveNode(self._brain)
        with self._panel.errors_shown():
            self._brain = show_brain(self._node) if on and self._node is not None else None
        centre_3d()

    def toggle_outlines(self) -> None:
        """Hide the segmentation in the slice views, or show it again."""
        display = self._node.GetDisplayNode() if self._node is not None else None
        if display is not None:
            display.SetVisibility2D(not display.GetVisibility2D())

    def _show_fill(self) -> None:
        """Show only outlines if the user wants it, or over the probability, whose colours a fill would change."""
        alone = self._ui.outlineCheckBox.checked or self._overlay.is_shown
        if self._node is not None and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetOpacity2DFill(0.0 if alone else FILL_OPACITY)


def _single_shot(milliseconds: int, action: object) -> qt.QTimer:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", action)
    return timer
