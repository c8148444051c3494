"""The parts of the module's self-test about the review of a result: keys, clicks, views, no folder."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import slicer

from GliomaSegPanel.self_test_head import TUMOUR_RAS_MM, load_head, volume_ml


class ReviewTests:
    """See :class:`GliomaSegPanel.self_test.GliomaSegTest`, which has the helpers that these tests use."""

    def test_review_by_keys(self) -> None:
        """The line above Apply, a view for each sequence, boxes of the parts, keys, and a correction by a click."""
        from GliomaSegLib.case import TimePointKind
        from GliomaSegLib.scene.views import is_shown
        from GliomaSegLib.scene.visibility import is_visible
        from GliomaSegPanel.parameters import Brain

        self.delayDisplay("Review by keys.")
        load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        assert "2 sequences" in widget.ui.readinessLabel.text
        assert "after surgery</a>?" in widget.ui.readinessLabel.text
        widget.run.follow_link("time:preoperative")
        assert widget.parameters.timePoint.value is TimePointKind.PREOPERATIVE
        assert "call the case 'T1 post gad'?" in widget.ui.readinessLabel.text
        widget.run.follow_link("case")
        assert widget.situation().case_is_known
        assert widget.situation().case == "T1 post gad"
        widget.ui.caseEdit.text = "Test patient"
        widget.images.name_case("Test patient")
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        assert node.GetName() == "Test patient segmentation" or widget.logic.usesRecording
        assert widget.ui.imagesButton.collapsed
        volume = volume_ml(node)

        layout = slicer.app.layoutManager().layoutLogic().GetLayoutNode()
        for on in (True, False):
            widget.ui.sequenceViewsButton.checked = on
            assert is_shown(layout) is on
            assert widget.ui.outlineCheckBox.checked is on
        models = slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode")
        for shown in (1, 0):
            widget.ui.brainCheckBox.checked = bool(shown)
            assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLModelNode") == models + shown
        widget.ui.volumesTable.item(0, 0).setCheckState(0)
        assert not is_visible(node, "WT")
        widget.result.toggle_outlines()
        assert not node.GetDisplayNode().GetVisibility2D()
        widget.result.toggle_outlines()

        widget.result.step(1)
        assert widget.result.lesion.id == 1
        widget.ui.acceptLesionButton.click()
        assert widget.ui.lesionsTable.item(0, 5).text()
        widget.ui.removeByClickButton.checked = True
        widget.result.clicks.remove_at(widget.result.lesion.centre_ras_mm)
        assert volume_ml(node) == 0
        widget.ui.undoButton.click()
        assert abs(volume_ml(node) - volume) < 1e-6
        widget.ui.redoButton.click()
        assert volume_ml(node) == 0
        widget.ui.addByClickButton.checked = True
        assert not widget.ui.removeByClickButton.checked
        widget.result.clicks.add_at(TUMOUR_RAS_MM)
        assert volume_ml(node) > 0.3 * volume, widget.ui.messageLabel.text
        widget.ui.addByClickButton.checked = False

    def test_without_the_folder(self) -> None:
        """The scene carries its result: without the folder it is read, reviewed and exported all the same."""
        from GliomaSegPanel.parameters import Brain

        self.delayDisplay("The folder of results is gone.")
        load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        shutil.rmtree(widget.logic.resultFolder(node).parent)
        widget.result.show_measures()
        assert widget.ui.volumesTable.rowCount > 0
        widget.ui.reviewerEdit.text = "Dr. Test"
        self._press(widget, widget.ui.approveButton)
        assert "Approved by Dr. Test" in widget.ui.reviewStateLabel.text, widget.ui.messageLabel.text
        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.exportFilesButton.click()
            assert list(Path(folder).rglob("report.html")), widget.ui.messageLabel.text
