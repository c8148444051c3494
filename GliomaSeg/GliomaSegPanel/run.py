"""Apply and Cancel, the progress bar, messages, and the display of a new result."""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping
from typing import Any

import qt
import slicer

from GliomaSegLib.case import REFERENCE_ORDER, Modality, TimePointKind
from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.scene.result import read_manifest
from GliomaSegLib.scene.segmentation import reference_of
from GliomaSegPanel.decisions.images import missing_cost
from GliomaSegPanel.decisions.models import ask_before_use
from GliomaSegPanel.decisions.readiness import CASE, MODEL, TIME, readiness, readiness_html
from GliomaSegPanel.decisions.run import can_apply, can_cancel
from GliomaSegPanel.decisions.situation import Situation, Work
from GliomaSegPanel.decisions.titles import download_size
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.parameters import RegistrationBy, StudyTime, chosen_volumes
from GliomaSegPanel.translation import _
from GliomaSegPanel.views import jump_to

_COLOURS = {"error": "#c0392b", "warning": "#b9770e", "done": "#2e7d32"}


class RunSection:
    """Starts a segmentation, and shows its progress and result."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._confirmed: set[str] = set()
        self._ui.messageLabel.visible = False
        self._ui.applyButton.connect("clicked()", self.apply)
        self._ui.readinessLabel.connect("linkActivated(QString)", self.follow_link)
        self._ui.cancelButton.connect("clicked()", panel.runner.cancel)

    def show(self, situation: Situation) -> None:
        """Update the section."""
        runner = self._panel.runner
        self._panel.set_enabled(self._ui.applyButton, can_apply(situation))
        line = readiness_html(readiness(situation))
        if self._ui.readinessLabel.text != line:
            self._ui.readinessLabel.text = line
        self._ui.readinessLabel.visible = situation.work is None
        self._panel.set_enabled(self._ui.cancelButton, can_cancel(situation))
        self._ui.cancelButton.visible = situation.work is not None
        self._ui.progressFrame.visible = situation.work is not None
        if situation.work is not None:
            self._ui.cancelButton.enabled = not runner.cancelling
            self.show_progress()

    def show_progress(self) -> None:
        """Update only the progress bar."""
        runner = self._panel.runner
        percent = runner.progress.percent
        self._ui.progressBar.maximum = 0 if percent is None or runner.cancelling else 100
        self._ui.progressBar.value = percent or 0
        stage = _("Stopping") if runner.cancelling else runner.progress.text
        self._ui.stageLabel.text = _("{stage} … {seconds} s").format(stage=stage, seconds=runner.seconds)

    def show_message(self, sentences: str | list[str], kind: str = "done") -> None:
        """Show sentences below the Apply button until the next run starts; an empty text removes them."""
        lines = [sentences] if isinstance(sentences, str) else sentences
        text = "".join(f"<p style='margin:2px'>{html.escape(line)}</p>" for line in lines if line)
        self._ui.messageLabel.visible = bool(text)
        self._ui.messageLabel.text = f"<div style='color:{_COLOURS[kind]}'>{text}</div>"

    def show_error(self, error: GliomaSegError) -> None:
        """Say why there is no result."""
        self.show_message(str(error), "warning" if type(error).__name__ == "Cancelled" else "error")

    def apply(self) -> None:
        """Segment, after asking to install missing packages and the model's weights."""
        with self._panel.errors_shown():
            self._panel.ensure_packages()
            situation = self._panel.situation()
            question = ask_before_use(situation)
            if question and question not in self._confirmed:
                if not slicer.util.confirmOkCancelDisplay(question, windowTitle=situation.card.title):
                    return
                self._confirmed.add(question)
            if not situation.installed and not self._panel.logic.usesRecording:
                question = _("{title} is not on this computer yet. Download it ({size}) now?").format(
                    title=situation.card.title, size=download_size(situation.card.weights.size_bytes)
                )
                if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Download the model")):
                    self._panel.model.install(then=self.apply)
                else:
                    self.show_message(_("Nothing was segmented, because the model is not on this computer."), "warning")
                return
            self._panel.begin(Work.SEGMENT, self._start, self._on_segmented)

    def _start(self) -> Any:
        parameters, logic, situation = self._panel.parameters, self._panel.logic, self._panel.situation()
        logic.configure(brainsfit=parameters.registration is RegistrationBy.AUTOMATIC)
        options = {**self._panel.run_options(situation), "wait": False}
        if situation.case and not situation.from_folder:
            options["case_id"] = situation.case
        looks_back = bool(situation.card.inputs.preoperative)
        if situation.from_folder:
            before = parameters.preoperativeSegmentation if looks_back else None
            return logic.segmentStudy(situation.study_folder, preoperative=before, **options)
        if looks_back:
            options["preoperative"] = parameters.preoperativeSegmentation
            options["preoperative_volume"] = parameters.preoperativeVolume
        volumes = chosen_volumes(parameters)
        placed = placed_by_hand(volumes) if parameters.registration is not RegistrationBy.OFF else {}
        return logic.segment(**{s.value: node for s, node in volumes.items()}, transforms=placed, **options)

    def follow_link(self, target: str) -> None:
        """Handle a click in the line above Apply: make the choice, or open its section."""
        what, _colon, value = target.partition(":")
        if what == TIME:
            self._panel.parameters.timePoint = StudyTime(TimePointKind(value))
        elif what == MODEL and value:
            self._panel.model.offer(value)
        else:
            (self._ui.modelButton if what == MODEL else self._ui.imagesButton).collapsed = False
            if what == CASE:
                self._panel.images.name_case(self._panel.situation().case)  # a click confirms the name
                self._ui.caseEdit.setFocus()
                self._ui.caseEdit.selectAll()

    # --- the result --------------------------------------------------------------------------------------------------

    def _on_segmented(self, result: Any) -> None:
        self.show_result(result)
        qt.QTimer.singleShot(0, self._panel.compare_if_chosen)

    def show_result(self, result: Any) -> None:
        """Show a new result: tables, then its reference image and its largest lesion in the views."""
        if result.segmentation.GetScene() is None:  # deleted meanwhile
            return
        self._panel.parameters.segmentation = result.segmentation
        self.fold(has_result=True)
        self._panel.images.show_passed_over(read_manifest(result.result).get("passed_over", ()))
        self._report(result.result.get("warnings", ()), result.result.get("training"))
        qt.QTimer.singleShot(0, self._show_in_views)  # the panel is drawn first

    def fold(self, has_result: bool) -> None:
        """Collapse the sections of the inputs if there is a result, or else those that need one."""
        ui = self._ui
        for section in (ui.imagesButton, ui.modelButton):
            section.collapsed = has_result
        for section in (ui.correctButton, ui.reviewButton):
            section.collapsed = not has_result
        ui.resultButton.collapsed = False

    def _report(self, warnings: Iterable[str], training: str | None) -> None:
        """Show that the run is done, warnings that are not in the panel yet, and the model's training data."""
        runner, found = self._panel.runner, bool(self._panel.result.lesions)
        above = missing_cost(self._panel.situation())
        new = [one for one in dict.fromkeys([*runner.warnings, *warnings]) if one != above]
        done = _("Done in {seconds} s.").format(seconds=runner.seconds)
        look = _("Look at every contour.") if found else _("No tumour was found.")
        sentences = [f"{done} {look}", *new, *([training] if training else [])]
        self.show_message(sentences, "warning" if new or not found else "done")

    def _show_in_views(self) -> None:
        result = self._panel.result
        reference = reference_of(result.node) if result.node is not None else None
        if reference is not None and not result.shows_sequences:
            slicer.util.setSliceViewerLayers(background=reference, fit=True)
        if result.lesions:
            jump_to(result.lesions[0].centre_ras_mm)


def placed_by_hand(
    volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
) -> dict[Modality, slicer.vtkMRMLTransformNode]:
    """The transforms of volumes whose parent transform is not the reference image's: they were placed by the user or
    by an earlier run, and are not registered again."""
    reference = next(volumes[sequence] for sequence in REFERENCE_ORDER if sequence in volumes)
    parents = {sequence: node.GetParentTransformNode() for sequence, node in volumes.items()}
    return {
        sequence: parent
        for sequence, parent in parents.items()
        if parent is not None and parent is not reference.GetParentTransformNode()
    }
