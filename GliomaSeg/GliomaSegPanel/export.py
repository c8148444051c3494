"""The section Export: the files of the result, to where they are wanted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import qt
import slicer

from GliomaSegPanel import decisions
from GliomaSegPanel.decisions import Situation
from GliomaSegPanel.words import _

if TYPE_CHECKING:
    from GliomaSeg import GliomaSegWidget


class ExportSection:
    """Copies what was measured and is shown; nothing is computed again."""

    def __init__(self, panel: GliomaSegWidget) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._boxes = {
            self._ui.niftiCheckBox: ("segmentation.nii.gz",),
            self._ui.segNrrdCheckBox: ("segmentation.seg.nrrd",),
            self._ui.reportCheckBox: ("report.html", "measures.json", "measures.csv"),
        }
        for box in self._boxes:
            box.connect("toggled(bool)", lambda _on: panel.refresh())
        self._ui.exportFolderEdit.connect("currentPathChanged(QString)", lambda _path: panel.refresh())
        self._ui.exportFilesButton.connect("clicked()", self._on_export)
        self._ui.openReportButton.connect("clicked()", self._on_open_report)

    @property
    def _folder(self) -> Path | None:
        path = self._ui.exportFolderEdit.currentPath.strip()
        return Path(path) if path else None

    @property
    def _names(self) -> list[str]:
        return [name for box, names in self._boxes.items() if box.checked for name in names]

    def show(self, situation: Situation) -> None:
        """Bring the section in line."""
        self._panel.allow(self._ui.exportFilesButton, decisions.can_export(situation, self._folder, self._names))
        self._ui.openReportButton.enabled = situation.shown is not None and situation.shown.folder_exists

    def _on_export(self) -> None:
        with self._panel.sentences():
            node, logic = self._panel.result.node, self._panel.logic
            target = logic.exportFolder(node, self._folder)
            question = _("{folder} is there already. Replace the files in it?").format(folder=target)
            if target.exists() and not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Export")):
                return
            files = logic.exportFiles(node, self._folder, self._names)
            address = qt.QUrl.fromLocalFile(str(target)).toString()
            self._ui.exportedLabel.openExternalLinks = True
            self._ui.exportedLabel.visible = True
            self._ui.exportedLabel.text = _("Written to {folder}: {names}. Not a medical device.").format(
                folder=f"<a href='{address}'>{target}</a>", names=", ".join(path.name for path in files)
            )

    def _on_open_report(self) -> None:
        report = self._panel.logic.resultFolder(self._panel.result.node) / "report.html"
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(report)))
