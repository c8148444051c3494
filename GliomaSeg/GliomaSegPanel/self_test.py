"""The module's self-test: from loading to an edited, reviewed and exported result, on a generated head.

Slicer loads this file when it starts, so that the library is imported inside the tests.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleTest

from GliomaSegPanel.logic import GliomaSegLogic
from GliomaSegPanel.self_test_head import (
    TUMOUR_ML,
    TUMOUR_RAS_MM,
    drawn_like,
    load_head,
    node_ids,
    remove_upper_half,
    shown_beside_mm,
    volume_ml,
    write_series,
)
from GliomaSegPanel.self_test_review import ReviewTests


class GliomaSegTest(ReviewTests, ScriptedLoadableModuleTest):
    """From loading to an edited, reviewed and exported result, on a generated head: no download, nothing installed.

    The worker runs when its packages and a model are installed; otherwise its recorded answers to these very requests
    are replayed (:mod:`GliomaSegPanel.recorded_worker`). The log says which.
    """

    def setUp(self) -> None:
        """An empty scene, a temporary folder of results, and OK to each question: in testing mode Slicer shows no
        message box, but returns Cancel."""
        slicer.mrmlScene.Clear(0)
        self._agreeing = patch.object(slicer.util, "confirmOkCancelDisplay", return_value=True)
        self._agreeing.start()
        self._results = tempfile.TemporaryDirectory(prefix="GliomaSegTest-")

    def tearDown(self) -> None:
        """Leave nothing behind."""
        slicer.mrmlScene.Clear(0)
        self._agreeing.stop()
        self._results.cleanup()

    def runTest(self) -> None:
        """Run all tests."""
        for test in (
            self.test_panel, self.test_comparison_and_dicom, self.test_three_studies, self.test_what_could_mislead,
            self.test_review_by_keys, self.test_without_the_folder, self.test_logic, self.test_cancel,
            self.test_scene_closed, self.test_refusals,
        ):  # fmt: skip
            self.setUp()
            try:
                test()
            finally:
                self.tearDown()
        self.delayDisplay("All tests passed.")

    def test_panel(self) -> None:
        """The panel: Apply, look, delete a lesion, undo, correct, measure, approve, export."""
        from GliomaSegLib.scene.review import EDITED, review_of
        from GliomaSegPanel.parameters import Brain

        self.delayDisplay("The panel: from the images to the exported result.")
        head = load_head()
        widget = self._opened_panel()
        assert widget.parameters.t1c == head["t1c"]
        assert widget.parameters.t2f == head["t2f"]
        assert "Filled in" in widget.ui.t2fSelector.toolTip
        assert "Missing: T1, T2" in widget.ui.costLabel.text
        widget.parameters.brain = Brain.STRIPPED
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        assert node is not None, widget.ui.messageLabel.text
        assert widget.ui.volumesTable.rowCount > 0
        assert widget.ui.lesionsTable.rowCount == 1
        volume = volume_ml(node)
        assert abs(volume / TUMOUR_ML - 1) < 0.25

        widget.ui.lesionsTable.selectRow(0)
        assert shown_beside_mm(TUMOUR_RAS_MM) < 5
        widget.ui.deleteLesionButton.click()
        assert widget.ui.lesionsTable.rowCount == 0
        widget.ui.undoButton.click()
        assert abs(volume_ml(node) - volume) < 1e-6

        widget.ui.startEditingButton.click()
        assert widget.ui.segmentEditor.sourceVolumeNode() == head["t1c"]
        assert not widget.ui.applyButton.enabled
        remove_upper_half(node)
        self._press(widget, widget.ui.finishEditingButton)
        measured = widget.logic.measuresOf(node)["volumes"][0]["volume_ml"]
        assert abs(measured - volume_ml(node)) < 0.01
        assert measured < 0.8 * volume
        assert "Edited" in widget.ui.reviewStateLabel.text

        widget.ui.reviewerEdit.text = "Dr. Test"
        self._press(widget, widget.ui.approveButton)
        assert "Approved by Dr. Test" in widget.ui.reviewStateLabel.text
        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.exportFilesButton.click()
            written = {path.name for path in Path(folder).rglob("*") if path.is_file()}
        assert written == {
            "segmentation.nii.gz",
            "segmentation.seg.nrrd",
            "report.html",
            "measures.json",
            "measures.csv",
        }
        remove_upper_half(node)
        assert review_of(node).state == EDITED, "an edit voids an approval"
        self._until(lambda: "Edited" in widget.ui.reviewStateLabel.text)  # shown when the edits pause

    def test_comparison_and_dicom(self) -> None:
        """After surgery: the result is compared with an earlier segmentation, and exported as DICOM."""
        from GliomaSegLib.scene.attributes import COMPARISON_OUTDATED
        from GliomaSegLib.scene.comparison import chart_of
        from GliomaSegLib.scene.keeping import Files
        from GliomaSegPanel.parameters import Brain, StudyTime

        self.delayDisplay("Two studies are compared, and the result is exported as DICOM.")
        head = load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        widget.parameters.timePoint = StudyTime.POSTOPERATIVE
        widget.parameters.daysSinceSurgery = 2
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        assert "Choose the segmentation of the earlier study" in widget.ui.compareStudiesButton.toolTip
        widget.parameters.preoperativeSegmentation = drawn_like(node, head["t1c"])
        assert "Choose the T1 + contrast" in widget.ui.compareStudiesButton.toolTip
        assert not widget.parameters.preoperativeSegmentation.GetDisplayNode().GetVisibility()
        widget.parameters.preoperativeVolume = head["t1c"]
        remove_upper_half(node)
        self._until(lambda: "Update the measures" in widget.ui.compareStudiesButton.toolTip)
        self._press(widget, widget.ui.measureButton)
        self._press(widget, widget.ui.compareStudiesButton)
        assert widget.ui.answersLabel.text, widget.ui.messageLabel.text
        table = widget.ui.comparisonTable
        earlier, now = (float(table.item(0, column).text()) for column in (1, 3))
        assert now < 0.8 * earlier
        assert table.isColumnHidden(2)
        assert (widget.logic.resultFolder(node, Files.COMPARISON) / "comparison.html").is_file()
        widget.ui.growthButton.click()
        shown = slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode().GetPlotChartNode()
        assert shown == chart_of(node)

        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.rtstructCheckBox.checked = True
            assert "NIfTI" in widget.ui.exportFilesButton.toolTip
            assert not widget.ui.exportFilesButton.enabled
            widget.ui.seriesEdit.currentPath = str(write_series(head["t1c"], Path(folder) / "series"))
            self._press(widget, widget.ui.exportFilesButton)
            widget.ui.rtstructCheckBox.checked = False
            assert list(Path(folder).rglob("segmentation.nii.gz"))
            written = [path.name for path in Path(folder).rglob("rtstruct.dcm")]
            if widget.logic.usesRecording:
                assert "no recorded answer" in widget.ui.messageLabel.text
            else:
                assert written == ["rtstruct.dcm"], widget.ui.messageLabel.text
        assert not widget.ui.comparisonOutdatedLabel.visible
        remove_upper_half(widget.parameters.preoperativeSegmentation)
        assert node.GetAttribute(COMPARISON_OUTDATED)
        self._until(lambda: widget.ui.comparisonOutdatedLabel.visible)

    def test_three_studies(self) -> None:
        """A study between, as the baseline, followed through a deformation; and lesions exported with their numbers."""
        from GliomaSegPanel.parameters import Baseline, Brain, Structures, StudyTime

        self.delayDisplay("Three studies are compared, and the lesions exported with their numbers.")
        head = load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        widget.parameters.timePoint = StudyTime.POSTOPERATIVE
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        widget.parameters.preoperativeSegmentation = drawn_like(node, head["t1c"])
        widget.parameters.preoperativeVolume = head["t1c"]
        widget.parameters.betweenSegmentation = drawn_like(node, head["t1c"])
        assert "Choose the T1 + contrast of the study between" in widget.ui.compareStudiesButton.toolTip
        widget.parameters.betweenVolume = head["t1c"]
        widget.parameters.baseline = Baseline.EARLIER
        assert "cannot be compared with a study before surgery" in widget.ui.compareStudiesButton.toolTip
        widget.parameters.baseline = Baseline.BETWEEN
        widget.parameters.deformable = True
        widget.ui.dicomSegCheckBox.checked = True
        widget.parameters.structures = Structures.LESIONS
        assert not widget.ui.keepNumbersCheckBox.enabled
        assert "Compare the result with an earlier study first" in widget.ui.keepNumbersCheckBox.toolTip
        self._press(widget, widget.ui.compareStudiesButton)
        comparison = widget.logic.comparisonOf(node)
        assert len(comparison["studies"]) == 3, widget.ui.messageLabel.text
        assert not widget.ui.comparisonTable.isColumnHidden(2)
        assert widget.ui.keepNumbersCheckBox.enabled
        assert comparison["baseline"] == 1
        assert "demons" in comparison["deformation"]
        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.seriesEdit.currentPath = str(write_series(head["t1c"], Path(folder) / "series"))
            self._press(widget, widget.ui.exportFilesButton)
            written = [path.name for path in Path(folder).rglob("seg.dcm")]
            assert written == ([] if widget.logic.usesRecording else ["seg.dcm"]), widget.ui.messageLabel.text
            remove_upper_half(widget.parameters.betweenSegmentation)
            self._until(lambda: "The comparison is out of date" in widget.ui.exportFilesButton.toolTip)
        widget.ui.dicomSegCheckBox.checked = False

    def test_what_could_mislead(self) -> None:
        """A second result hides the first; swapped sequences and a model for another time are remarked on."""
        from GliomaSegPanel.parameters import Brain, StudyTime

        self.delayDisplay("What could mislead is said at once.")
        head = load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        self._press(widget, widget.ui.applyButton)
        first = widget.parameters.segmentation
        self._press(widget, widget.ui.applyButton)
        second = widget.parameters.segmentation
        assert first is not second
        assert not first.GetDisplayNode().GetVisibility()
        assert second.GetDisplayNode().GetVisibility()
        assert slicer.mrmlScene.IsNodePresent(first)

        assert not widget.ui.imagesWarningLabel.visible
        widget.parameters.t1c, widget.parameters.t2f = head["t2f"], head["t1c"]
        assert "seem to be swapped" in widget.ui.imagesWarningLabel.text
        widget.parameters.t1c, widget.parameters.t2f = head["t1c"], head["t2f"]
        assert not widget.ui.unsuitedLabel.visible
        times = widget.situation().card.time_points
        other = next((time for time in StudyTime if time.value not in times and time is not StudyTime.UNKNOWN), None)
        if other is not None:
            widget.parameters.timePoint = other
            assert "This model is made for studies" in widget.ui.unsuitedLabel.text

    def test_logic(self) -> None:
        """The logic, as from the Python console, and the scene saved and read again."""
        from GliomaSegLib.scene.segmentation import labels_of

        self.delayDisplay("The logic: segment, compare, save and reload the scene.")
        head = load_head()
        logic = self._logic()
        run = logic.segment(t1c=head["t1c"], t2f=head["t2f"], model=_available_model(logic), brain="stripped")
        node = run.result.segmentation
        labels, matrix = labels_of(node)
        agreement = logic.compare(node, node)
        assert all(region.dice == 1 for region in agreement.values())
        with tempfile.TemporaryDirectory() as folder:
            scene = str(Path(folder) / "scene.mrb")
            assert slicer.util.saveScene(scene)
            name = node.GetName()
            slicer.mrmlScene.Clear(0)
            slicer.util.loadScene(scene)
            again, place = labels_of(slicer.util.getNode(name))
        assert (again == labels).all()
        assert abs(place - matrix).max() < 1e-3
        logic.close()

    def test_cancel(self) -> None:
        """What is cancelled leaves no node and no folder."""
        self.delayDisplay("Cancel leaves nothing behind.")
        from GliomaSegLib.errors import Cancelled

        head = load_head()
        logic = self._logic()
        before = node_ids()
        run = logic.segment(
            t1c=head["t1c"], t2f=head["t2f"], model=_available_model(logic), brain="stripped", wait=False
        )
        run.poll()
        run.cancel()
        with self.assertRaises(Cancelled):  # noqa: PT027 - Slicer has no pytest
            run.wait()
        assert node_ids() == before, node_ids() ^ before
        assert [path for path in Path(self._results.name).iterdir() if path.is_dir()] == []
        logic.close()

    def test_scene_closed(self) -> None:
        """Closing the scene stops what runs; the panel is ready for the next patient."""
        self.delayDisplay("The scene is closed while the worker runs.")
        load_head()
        widget = self._opened_panel()
        widget.ui.applyButton.click()
        widget.run.fold(has_result=True)
        slicer.mrmlScene.Clear(0)
        self._wait(widget)
        assert not widget.ui.imagesButton.collapsed
        assert widget.parameters.segmentation is None
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        assert not widget.ui.applyButton.enabled
        assert "choose at least one sequence" in widget.ui.applyButton.toolTip

    def test_refusals(self) -> None:
        """What cannot be used is refused in a sentence, and a deleted volume is deselected."""
        self.delayDisplay("What cannot be used is refused.")
        from GliomaSegLib.errors import InputError

        widget = self._opened_panel()
        assert not widget.ui.applyButton.enabled
        head = load_head()
        widget.images.fill_in()
        slicer.mrmlScene.RemoveNode(head["t1c"])
        assert widget.parameters.t1c is None, "no other volume takes its place"
        assert widget.ui.t1cSelector.currentNode() is None
        slicer.mrmlScene.RemoveNode(head["t2f"])
        empty = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "FLAIR")
        widget.parameters.t2f = empty
        assert widget.ui.applyButton.enabled
        widget.ui.applyButton.click()
        assert "FLAIR" in widget.ui.messageLabel.text
        logic = self._logic()
        with self.assertRaises(InputError):  # noqa: PT027 - Slicer has no pytest
            logic.segment(model=_available_model(logic))
        logic.close()

    def _logic(self) -> GliomaSegLogic:
        from GliomaSegPanel.options import default_python

        logic = GliomaSegLogic()
        logic.configure(python=default_python(), results=Path(self._results.name))
        print(f"GliomaSegTest uses {'recorded answers' if logic.usesRecording else 'the worker'}.")
        return logic

    def _opened_panel(self) -> Any:
        slicer.util.selectModule("GliomaSeg")
        slicer.app.processEvents()
        widget = slicer.util.getModuleWidget("GliomaSeg")
        widget.logic.configure(results=Path(self._results.name))
        widget.parameters.model = _available_model(widget.logic)
        widget.images.fill_in()
        return widget

    def _press(self, widget: Any, button: Any) -> None:
        """Press a button that starts work, and wait for its end."""
        assert button.enabled, button.toolTip
        button.click()
        self._wait(widget)

    def _wait(self, widget: Any) -> None:
        while widget.runner.work is not None:
            slicer.app.processEvents()
            time.sleep(0.02)
        slicer.app.processEvents()

    def _until(self, happened: Callable[[], bool]) -> None:
        """Wait for a delayed action of the panel."""
        end = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < end, "it did not happen within 10 s"
            slicer.app.processEvents()
            time.sleep(0.02)


def _available_model(logic: GliomaSegLogic) -> str:
    """The ID of an installed model, so that nothing is downloaded; any model for the recorded answers."""
    from GliomaSegLib.zoo.catalogue import tumour_models
    from GliomaSegLib.zoo.store import Store

    known = tumour_models()
    return next((card.id for card in known if Store(logic.store).is_installed(card)), known[0].id)
