"""The section Result: what is shown of a segmentation, its volumes, its lesions, and the outline's threshold."""

from __future__ import annotations

from typing import TYPE_CHECKING

import qt
import slicer

from GliomaSegLib.scene.edits import Edits
from GliomaSegLib.scene.lesions import Lesion, accept_lesion, delete_lesion, lesions_of, rethreshold_lesion
from GliomaSegLib.scene.segmentation import labels_of
from GliomaSegLib.scene.threshold import (
    MODEL_THRESHOLD,
    Rethreshold,
    load_probability,
    probability_file,
    show_probability,
)
from GliomaSegPanel import decisions
from GliomaSegPanel.decisions import Situation, Work
from GliomaSegPanel.images import OVERLAY_OF
from GliomaSegPanel.words import _

if TYPE_CHECKING:
    from GliomaSeg import GliomaSegWidget

# A preview takes about 0.05 s on a whole head: the slider is followed at this pace.
PREVIEW_MS = 60
# The lesions are listed again once the segmentation has been left alone for so long.
QUIET_MS = 400

ROW_PIXELS, MOST_ROWS = 22, 8

FILL_OPACITY = 0.35

PROBABILITY_COLOURS = "vtkMRMLColorTableNodeFileInferno.txt"


class ResultSection:
    """One segmentation at a time: the one that the parameter node names."""

    def __init__(self, panel: GliomaSegWidget) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._node: slicer.vtkMRMLSegmentationNode | None = None
        self._edits: Edits | None = None
        self._slide: Rethreshold | _LesionSlide | None = None
        self._lesions: list[Lesion] = []
        self._overlay: slicer.vtkMRMLScalarVolumeNode | None = None
        self._surfaces_wanted = False
        self._preview = _single_shot(PREVIEW_MS, self._on_preview)
        self._quiet = _single_shot(QUIET_MS, self._on_quiet)
        fit_columns(self._ui.volumesTable, stretched=0)
        fit_columns(self._ui.lesionsTable, stretched=3)
        self._ui.outlineCheckBox.connect("toggled(bool)", lambda _on: self._show_fill())
        self._ui.overlayCheckBox.connect("toggled(bool)", self._on_overlay)
        self._ui.overlaySlider.connect("valueChanged(double)", self._on_overlay_opacity)
        self._ui.lesionsTable.connect("itemSelectionChanged()", self._on_lesion_selected)
        self._ui.acceptLesionButton.connect("clicked()", self._on_accept)
        self._ui.deleteLesionButton.connect("clicked()", self._on_delete)
        self._ui.undoButton.connect("clicked()", self._on_undo)
        self._ui.measureButton.connect("clicked()", self.measure)
        self._ui.thresholdSlider.connect("valueChanged(double)", lambda _value: self._preview.start())
        self._ui.thresholdLesionCheckBox.connect("toggled(bool)", lambda _on: self.settle())
        self._ui.thresholdResetButton.connect("clicked()", self._reset_slider)

    @property
    def node(self) -> slicer.vtkMRMLSegmentationNode | None:
        """The segmentation that is shown."""
        return self._node

    @property
    def can_undo(self) -> bool:
        """Whether the last change that was made in this section can be taken back."""
        return self._slider_is_off or (self._edits is not None and self._edits.can_undo)

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
        self.settle()
        self._remove_overlay()
        self._node, self._edits, self._lesions = node, Edits(node) if node else None, []
        self._ui.segmentsTable.setSegmentationNode(node)
        self._ui.show3DButton.setSegmentationNode(node)
        self._surfaces_wanted = False
        self._show_fill()
        self.show_measures()

    def show(self, situation: Situation) -> None:
        """Bring the section in line."""
        shown = situation.shown
        self._ui.resultFrame.visible = shown is not None
        self._ui.overlayCheckBox.visible = self._ui.overlaySlider.visible = bool(shown and shown.thresholdable)
        self._ui.overlaySlider.enabled = self._ui.overlayCheckBox.checked
        self._ui.thresholdGroup.visible = bool(shown and shown.thresholdable)
        outline = decisions.can_threshold(situation)
        self._ui.thresholdGroup.enabled, self._ui.thresholdGroup.toolTip = outline
        self._ui.thresholdLesionCheckBox.enabled = self.lesion is not None
        for button, does in (
            (self._ui.acceptLesionButton, _("The lesion is right as it is; kept with the scene.")),
            (self._ui.deleteLesionButton, _("Take the lesion out of the segmentation.")),
        ):
            answer = decisions.can_change_lesion(situation)
            self._panel.allow(button, answer if not answer.allowed else decisions.Answer(True, does))
        accepted = self.lesion is not None and self.lesion.accepted
        self._ui.acceptLesionButton.text = _("Not accepted") if accepted else _("Accept")
        self._panel.allow(self._ui.undoButton, decisions.can_undo(situation))
        stale = shown is not None and shown.edited and not situation.editing
        self._ui.staleLabel.visible = self._ui.measureButton.visible = stale
        self._ui.volumesTable.enabled = not (shown and shown.edited)
        self._panel.allow(self._ui.measureButton, decisions.can_measure(situation))

    def show_measures(self) -> None:
        """Fill the tables from what the segmentation is, and was when it was last measured."""
        measures = self._panel.logic.measuresOf(self._node) if self._node else None
        rows = decisions.volume_rows(measures) if measures else ()
        fill_table(self._ui.volumesTable, rows)
        self._list_lesions()

    def measure(self) -> None:
        """Have measures, report and files follow the segmentation."""
        self.settle()
        node, logic = self._node, self._panel.logic
        self._panel.begin(Work.MEASURE, lambda: logic.measure(node, wait=False), self._on_measured)

    def _on_measured(self, _result: object) -> None:
        self.show_measures()
        self._panel.say(_("Measures, report and files follow the segmentation."))

    def on_edited(self) -> None:
        """The segmentation has changed."""
        self._quiet.start()

    def settle(self) -> None:
        """What the slider shows becomes one edit; what comes next starts from there."""
        self._preview.stop()
        slide, self._slide = self._slide, None
        if slide is not None:
            slide.keep()
            self._list_lesions()
        blocked = self._ui.thresholdSlider.blockSignals(True)
        self._reset_slider()
        self._ui.thresholdSlider.blockSignals(blocked)

    def _keep_surfaces(self) -> None:
        """To be called before an edit: Slicer drops the surfaces, and what was shown comes back when it is quiet."""
        surface = slicer.vtkSegmentationConverter.GetSegmentationClosedSurfaceRepresentationName()
        self._surfaces_wanted = self._surfaces_wanted or self._node.GetSegmentation().ContainsRepresentation(surface)

    def _on_quiet(self) -> None:
        if self._surfaces_wanted and self._node is not None:
            self._node.CreateClosedSurfaceRepresentation()
        self._surfaces_wanted = False
        self._list_lesions()

    # --- lesions -----------------------------------------------------------------------------------------------------

    def _list_lesions(self) -> None:
        selected = self.lesion.id if self.lesion else None
        with self._panel.sentences():
            measures = self._panel.logic.measuresOf(self._node) if self._node else None
            self._lesions = lesions_of(self._node, measures) if self._node else []
        blocked = self._ui.lesionsTable.blockSignals(True)
        fill_table(self._ui.lesionsTable, [decisions.lesion_row(lesion) for lesion in self._lesions])
        if selected is not None and selected <= len(self._lesions):
            self._ui.lesionsTable.selectRow(selected - 1)
        self._ui.lesionsTable.blockSignals(blocked)
        self._panel.refresh()

    def _on_lesion_selected(self) -> None:
        self.settle()
        if self.lesion is not None:
            jump_to(self.lesion.centre_ras_mm)
        self._panel.refresh()

    def _on_accept(self) -> None:
        with self._panel.sentences():
            self.settle()
            accept_lesion(self._node, self.lesion, not self.lesion.accepted)
            self._list_lesions()

    def _on_delete(self) -> None:
        with self._panel.sentences():
            self.settle()
            self._keep_surfaces()
            delete_lesion(self._edits, self.lesion)
            self._ui.lesionsTable.clearSelection()
            self._list_lesions()

    def _on_undo(self) -> None:
        with self._panel.sentences():
            self.settle()
            self._keep_surfaces()
            self._edits.undo()
            self._list_lesions()

    # --- outline -----------------------------------------------------------------------------------------------------

    @property
    def _slider_is_off(self) -> bool:
        return self._ui.thresholdSlider.value != 100 * MODEL_THRESHOLD

    def _reset_slider(self) -> None:
        self._ui.thresholdSlider.value = 100 * MODEL_THRESHOLD

    def _on_preview(self) -> None:
        with self._panel.sentences():
            if self._slide is None and self._slider_is_off:
                one = self._ui.thresholdLesionCheckBox.checked and self.lesion is not None
                self._slide = _LesionSlide(self._edits, self.lesion) if one else Rethreshold(self._edits)
            if self._slide is not None:
                self._keep_surfaces()
                self._slide.preview(self._ui.thresholdSlider.value / 100)
        self._panel.refresh()

    # --- display -----------------------------------------------------------------------------------------------------

    def _show_fill(self) -> None:
        """Outlines alone when the user wants that, and over the probability, whose colours a fill would change."""
        alone = self._ui.outlineCheckBox.checked or self._overlay is not None
        if self._node is not None and self._node.GetDisplayNode() is not None:
            self._node.GetDisplayNode().SetOpacity2DFill(0.0 if alone else FILL_OPACITY)

    def _on_overlay(self, shown: bool) -> None:
        with self._panel.sentences():
            if shown and self._node is not None and self._overlay is None:
                self._overlay = show_probability(slicer.mrmlScene, self._node)
                self._overlay.SetAttribute(OVERLAY_OF, self._node.GetID())
                self._overlay.SetSaveWithScene(False)
                self._overlay.GetDisplayNode().SetAndObserveColorNodeID(PROBABILITY_COLOURS)
                slicer.util.setSliceViewerLayers(foreground=self._overlay)
                self._on_overlay_opacity(self._ui.overlaySlider.value)
            elif not shown:
                self._remove_overlay()
            self._show_fill()
        self._panel.refresh()

    def _on_overlay_opacity(self, opacity: float) -> None:
        if self._overlay is not None:
            slicer.util.setSliceViewerLayers(foregroundOpacity=opacity)

    def _remove_overlay(self) -> None:
        if self._overlay is not None and slicer.mrmlScene.IsNodePresent(self._overlay):
            slicer.util.setSliceViewerLayers(foreground=None, foregroundOpacity=0)
            slicer.mrmlScene.RemoveNode(self._overlay)
        self._overlay = None
        self._ui.overlayCheckBox.checked = False

    def forget(self) -> None:
        """The scene goes away with all that is in it."""
        self._preview.stop()
        self._quiet.stop()
        self._slide = self._overlay = None
        self._node = self._edits = None
        self._lesions = []
        self._ui.segmentsTable.setSegmentationNode(None)
        self._ui.show3DButton.setSegmentationNode(None)
        self._ui.overlayCheckBox.checked = False


class _LesionSlide:
    """As :class:`GliomaSegLib.scene.threshold.Rethreshold`, for one lesion."""

    def __init__(self, edits: Edits, lesion: Lesion) -> None:
        self._edits, self._lesion = edits, lesion
        self._trial = Edits(edits.node)
        self._before, _ = labels_of(edits.node)
        self._probability = load_probability(edits.node)

    def preview(self, threshold: float) -> None:
        """Show the lesion with ``threshold`` (0 to 1)."""
        if self._trial.can_undo:
            self._trial.undo()
        if threshold != MODEL_THRESHOLD:
            rethreshold_lesion(self._trial, self._lesion, self._probability, threshold)

    def keep(self) -> None:
        """The preview stays, as one step that can be undone."""
        self._edits.remember(self._before, labels_of(self._edits.node)[0])


def has_probability(node: slicer.vtkMRMLSegmentationNode) -> bool:
    """Whether the outline of a segmentation can be moved."""
    return probability_file(node) is not None


def jump_to(ras_mm: tuple[float, float, float]) -> None:
    """Show a point in all slice views."""
    slicer.vtkMRMLSliceNode.JumpAllSlices(slicer.mrmlScene, *ras_mm, slicer.vtkMRMLSliceNode.CenteredJumpSlice)


def _single_shot(milliseconds: int, action: object) -> qt.QTimer:
    timer = qt.QTimer()
    timer.setSingleShot(True)
    timer.setInterval(milliseconds)
    timer.connect("timeout()", action)
    return timer


def fit_columns(table: qt.QTableWidget, stretched: int) -> None:
    """Columns as wide as their text, but for one that takes the rest."""
    table.verticalHeader().visible = False
    table.verticalHeader().setDefaultSectionSize(ROW_PIXELS)
    table.horizontalHeader().setSectionResizeMode(qt.QHeaderView.ResizeToContents)
    table.horizontalHeader().setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    table.setHorizontalScrollBarPolicy(qt.Qt.ScrollBarAlwaysOff)


def fill_table(table: qt.QTableWidget, rows: object) -> None:
    """Text into a table that is just as high as its rows need."""
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
