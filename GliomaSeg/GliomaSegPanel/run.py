"""Apply, Cancel, the bar, and what went wrong."""

from __future__ import annotations

import html
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import slicer

from GliomaSegLib.case import REFERENCE_ORDER, Modality
from GliomaSegLib.errors import GliomaSegError
from GliomaSegPanel import decisions
from GliomaSegPanel.decisions import Situation, Work
from GliomaSegPanel.parameters import Alignment, GliomaSegParameterNode, chosen_volumes
from GliomaSegPanel.words import _

if TYPE_CHECKING:
    from GliomaSeg import GliomaSegWidget

_COLOURS = {"error": "#c0392b", "warning": "#b9770e", "done": "#2e7d32"}


class RunSection:
    """Starts a segmentation and shows how it goes."""

    def __init__(self, panel: GliomaSegWidget) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._ui.messageLabel.visible = False
        self._ui.applyButton.connect("clicked()", self.apply)
        self._ui.cancelButton.connect("clicked()", panel.runner.cancel)

    def show(self, situation: Situation) -> None:
        """Bring the section in line."""
        runner = self._panel.runner
        self._panel.allow(self._ui.applyButton, decisions.can_apply(situation))
        self._panel.allow(self._ui.cancelButton, decisions.can_cancel(situation))
        self._ui.cancelButton.visible = situation.work is not None
        self._ui.progressFrame.visible = situation.work is not None
        if situation.work is None:
            return
        self._ui.cancelButton.enabled = not runner.cancelling
        percent = runner.bar.percent
        self._ui.progressBar.maximum = 0 if percent is None or runner.cancelling else 100
        self._ui.progressBar.value = percent or 0
        stage = _("Stopping") if runner.cancelling else runner.bar.text
        self._ui.stageLabel.text = _("{stage} … {seconds} s").format(stage=stage, seconds=runner.seconds)

    def say(self, sentences: str | list[str], kind: str = "done") -> None:
        """Show sentences below the Apply button until the next work starts; an empty text takes them away."""
        lines = [sentences] if isinstance(sentences, str) else sentences
        text = "".join(f"<p style='margin:2px'>{html.escape(line)}</p>" for line in lines if line)
        self._ui.messageLabel.visible = bool(text)
        self._ui.messageLabel.text = f"<div style='color:{_COLOURS[kind]}'>{text}</div>"

    def apply(self) -> None:
        """Segment; first ask for what is not there yet: packages, then the model's weights."""
        with self._panel.sentences():
            self._panel.have_packages()
            situation = self._panel.situation()
            if not situation.installed and not self._panel.logic.standIn:
                question = _("{title} is not on this computer yet. Download it ({size}) now?").format(
                    title=situation.entry.title, size=decisions.megabytes(situation.entry.size_mb)
                )
                if slicer.util.confirmOkCancelDisplay(question, windowTitle=_("Download the model")):
                    self._panel.model.install(then=self.apply)
                else:
                    self.say(_("Nothing was segmented, because the model is not on this computer."), "warning")
                return
            self._panel.begin(Work.SEGMENT, self._start, self._panel.on_segmented)

    def _start(self) -> Any:
        parameters, logic, situation = self._panel.parameters, self._panel.logic, self._panel.situation()
        logic.configure(brainsfit=parameters.registration is Alignment.AUTOMATIC)
        options = {
            "model": situation.entry.id,
            "brain": parameters.brain.value,
            "time_point": parameters.timePoint.value.value,
            "device": parameters.device.value,
            "registration": parameters.registration is not Alignment.OFF,
            "days_since_surgery": days_since_surgery(situation, parameters),
            "threads": parameters.threads or None,
            "wait": False,
        }
        looks_back = bool(situation.entry.needs.preoperative)
        if situation.from_folder:
            before = logic.resultFolder(parameters.preoperativeSegmentation) if looks_back else None
            return logic.segmentStudy(situation.study_folder, preoperative=before and str(before), **options)
        if looks_back:
            options["preoperative"] = parameters.preoperativeSegmentation
            options["preoperative_volume"] = parameters.preoperativeVolume
        volumes = chosen_volumes(parameters)
        placed = placed_by_hand(volumes) if parameters.registration is not Alignment.OFF else {}
        return logic.segment(**{s.value: node for s, node in volumes.items()}, transforms=placed, **options)

    def failed(self, error: GliomaSegError) -> None:
        """Say why there is no result."""
        self.say(str(error), "warning" if type(error).__name__ == "Cancelled" else "error")


def days_since_surgery(situation: Situation, parameters: GliomaSegParameterNode) -> int | None:
    """Of the study that is chosen; ``None`` when not known, or it was not made after surgery."""
    known = parameters.daysSinceSurgery >= 0 and decisions.is_postoperative(situation)
    return parameters.daysSinceSurgery if known else None


def placed_by_hand(
    volumes: Mapping[Modality, slicer.vtkMRMLScalarVolumeNode],
) -> dict[Modality, slicer.vtkMRMLTransformNode]:
    """The transforms of the volumes that lie under another one than the reference image: they are in place already,
    by the user's hand or by an earlier run, and are not registered again."""
    reference = next(volumes[sequence] for sequence in REFERENCE_ORDER if sequence in volumes)
    parents = {sequence: node.GetParentTransformNode() for sequence, node in volumes.items()}
    return {
        sequence: parent
        for sequence, parent in parents.items()
        if parent is not None and parent is not reference.GetParentTransformNode()
    }
