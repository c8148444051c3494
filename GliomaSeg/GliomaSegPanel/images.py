"""The section Images: the volume of each modality, and the loss of accuracy by missing ones."""

from __future__ import annotations

import html
from collections.abc import Iterable

import qt
import slicer
import vtk

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.scene.attributes import OVERLAY_OF, TIME_POINT
from GliomaSegLib.scene.dicom import series_of
from GliomaSegLib.scene.segmentation import volumes_of
from GliomaSegLib.scene.volumes import shape_of
from GliomaSegPanel.decisions.images import FilledIn, fill_in, missing_cost, name_conflicts, series_title
from GliomaSegPanel.decisions.situation import Situation, is_postoperative, shows_earlier
from GliomaSegPanel.decisions.titles import identity_line
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.parameters import StudyTime, case_name, chosen_volumes, reference_volume
from GliomaSegPanel.translation import _

# Loading a study adds many nodes; their names are evaluated this long after the last one.
QUIET_MS = 200

_NODE_PARAMETERS = (
    *(sequence.value for sequence in Modality),
    *("preoperativeVolume", "preoperativeSegmentation", "betweenVolume", "betweenSegmentation"),
)


class ImagesSection:
    """Selectors of volumes, filled in by the names of loaded volumes unless the user has chosen."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._reasons: dict[Modality, FilledIn] = {}
        self._selectors = {sequence: getattr(panel.ui, f"{sequence.value}Selector") for sequence in Modality}
        self._plain_tooltips = {sequence: selector.toolTip for sequence, selector in self._selectors.items()}
        self._plain_folder_tooltip = self._ui.studyFolderEdit.toolTip
        for sequence, selector in self._selectors.items():
            selector.connect("nodeActivated(vtkMRMLNode*)", lambda node, s=sequence: self._on_chosen(s, node))
        self._ui.fillInButton.connect("clicked()", self._on_fill_in_again)
        self._ui.caseEdit.connect("textEdited(QString)", self.name_case)
        self._ui.studyFolderEdit.connect("currentPathChanged(QString)", self._on_folder)
        self._ui.preoperativeSegmentationSelector.connect("nodeActivated(vtkMRMLNode*)", self._on_earlier_chosen)
        self._ui.betweenSegmentationSelector.connect("nodeActivated(vtkMRMLNode*)", self._hide_outlines)
        self._fill_in_later = qt.QTimer()
        self._fill_in_later.setSingleShot(True)
        self._fill_in_later.setInterval(QUIET_MS)
        self._fill_in_later.connect("timeout()", self.fill_in)
        panel.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.NodeAddedEvent, self._on_node_added)

    def show(self, situation: Situation) -> None:
        """Update the section."""
        self._ui.volumesFrame.visible = not situation.from_folder
        self._ui.folderFrame.visible = situation.from_folder
        self._ui.fillInButton.enabled = situation.work is None
        self._ui.daysSpinBox.visible = is_postoperative(situation)
        self._ui.preoperativeGroup.visible = shows_earlier(situation)
        self._ui.preoperativeVolumeSelector.enabled = situation.earlier is None or not situation.earlier.has_results
        named = case_name(self._panel.parameters) if self._panel.parameters is not None else ""
        if self._ui.caseEdit.text != named:
            self._ui.caseEdit.text = named
        self._ui.caseEdit.placeholderText = situation.case
        self._ui.identityLabel.text = identity_line(situation.identity)
        self._ui.identityLabel.visible = bool(self._ui.identityLabel.text)
        folder = str(situation.study_folder or "")
        if self._ui.studyFolderEdit.currentPath != folder:
            self._ui.studyFolderEdit.currentPath = folder
        doubts = [*name_conflicts(situation), *self._questions(situation)]
        self._ui.imagesWarningLabel.visible = bool(doubts) and not situation.from_folder
        self._ui.imagesWarningLabel.text = "\n".join(doubts)
        cost = missing_cost(situation)
        self._ui.costLabel.visible = bool(cost)
        self._ui.costLabel.text = cost
        for sequence, selector in self._selectors.items():
            filled = self._reasons.get(sequence)
            current = situation.chosen.get(sequence)
            reason = f"<p>{html.escape(filled.tooltip)}</p>" if filled and filled.node_id == current else ""
            node = getattr(self._panel.parameters, sequence.value, None)
            series = series_of(node) if node is not None and situation.keeps_identity else None
            of_dicom = f"<p>{html.escape(series_title(series))}</p>" if series else ""
            selector.toolTip = self._plain_tooltips[sequence] + of_dicom + reason
            selector.enabled = situation.work is None

    def show_passed_over(self, sentences: Iterable[str]) -> None:
        """Add to the tooltip of the study folder which of its files were not used in the run."""
        passed_over = "".join(f"<p>{html.escape(one)}</p>" for one in sentences)
        self._ui.studyFolderEdit.toolTip = self._plain_folder_tooltip + passed_over

    def _questions(self, situation: Situation) -> list[str]:
        """Sentences on modalities for which other volumes are possible too, or that need a choice."""
        return [
            filled.question
            for sequence, filled in self._reasons.items()
            if filled.question and filled.node_id == situation.chosen.get(sequence, "")
        ]

    def fill_in(self) -> None:
        """Choose volumes for the modalities without one, unless the user has set them to none."""
        parameters = self._panel.parameters
        if parameters is None or self._panel.runner.work is not None:
            return
        chosen = {sequence: node.GetID() for sequence, node in chosen_volumes(parameters).items()}
        left_open = [Modality(value) for value in parameters.leftOpen]
        earlier = self._ids_of_earlier_studies()
        volumes = {node.GetID(): node for node in _loaded_volumes() if node.GetID() not in earlier}
        names = {identifier: node.GetName() for identifier, node in volumes.items()}
        shapes = {identifier: shape_of(node) for identifier, node in volumes.items()}
        for sequence, filled in fill_in(names, chosen, left_open, shapes).items():
            self._reasons[sequence] = filled
            if filled.node_id:
                setattr(parameters, sequence.value, volumes[filled.node_id])
        self._panel.refresh()

    def deselect(self, node: slicer.vtkMRMLNode) -> None:
        """Deselect an image that is about to be deleted: Slicer's selectors would choose the next volume in their list,
        of any modality."""
        parameters = self._panel.parameters
        left_open = list(parameters.leftOpen)
        for name in _NODE_PARAMETERS:
            if getattr(parameters, name) is node:
                setattr(parameters, name, None)
        parameters.leftOpen = left_open  # deselecting here is not the user's choice of none

    def _ids_of_earlier_studies(self) -> set[str]:
        parameters = self._panel.parameters
        nodes = [parameters.preoperativeVolume, parameters.betweenVolume]
        for segmentation in (parameters.preoperativeSegmentation, parameters.betweenSegmentation):
            if segmentation is not None:
                nodes += volumes_of(segmentation).values()
        return {node.GetID() for node in nodes if node is not None}

    def name_case(self, name: str) -> None:
        """Set the name of the case, as entered by the user."""
        parameters, reference = self._panel.parameters, reference_volume(self._panel.parameters)
        parameters.caseOf = reference.GetID() if reference is not None else ""
        parameters.caseName = name.strip()

    def _on_folder(self, path: str) -> None:
        if self._panel.parameters is not None:
            self._panel.parameters.studyFolder = path.strip()
            self.show_passed_over(())

    def _on_fill_in_again(self) -> None:
        parameters = self._panel.parameters
        for sequence in Modality:
            setattr(parameters, sequence.value, None)
        parameters.leftOpen = []
        self.fill_in()
        if not chosen_volumes(parameters):
            self._panel.show_message(
                _("No loaded volume has a name that tells its sequence; choose them yourself."), "warning"
            )

    def _on_chosen(self, sequence: Modality, node: slicer.vtkMRMLNode | None) -> None:
        """Called when the user has chosen a volume or none, and when the panel fills one in."""
        parameters, filled = self._panel.parameters, self._reasons.get(sequence)
        if parameters is None or (node is not None and filled is not None and filled.node_id == node.GetID()):
            return
        others = [value for value in parameters.leftOpen if value != sequence.value]
        parameters.leftOpen = others if node is not None else [*others, sequence.value]
        self._reasons.pop(sequence, None)
        self._panel.refresh()

    def _on_earlier_chosen(self, node: slicer.vtkMRMLNode | None) -> None:
        """Set the time point of the earlier study from its result, if it is stated there."""
        self._hide_outlines(node)
        known = TimePointKind((node and node.GetAttribute(TIME_POINT)) or TimePointKind.UNKNOWN)
        if self._panel.parameters is not None and known is not TimePointKind.UNKNOWN:
            self._panel.parameters.earlierTime = StudyTime(known)

    def _hide_outlines(self, node: slicer.vtkMRMLNode | None) -> None:
        """Hide the outlines of another study: its image is not the one in the views."""
        if node is not None and node is not self._panel.result.node and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(False)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_added(self, caller: object, event: str, node: slicer.vtkMRMLNode) -> None:
        if node is not None and node.IsA("vtkMRMLScalarVolumeNode"):
            self._fill_in_later.start()


def _loaded_volumes() -> list[slicer.vtkMRMLScalarVolumeNode]:
    """The images in the scene, without label maps and the panel's overlays."""
    nodes = slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
    return [
        node
        for node in nodes
        if node.GetClassName() == "vtkMRMLScalarVolumeNode"
        and not node.GetHideFromEditors()
        and not node.GetAttribute(OVERLAY_OF)
    ]
