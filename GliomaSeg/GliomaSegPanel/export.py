"""The section Export: copies of the result's files, and the result as DICOM objects."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import qt
import slicer

from GliomaSegLib.options import ExportKind
from GliomaSegLib.scene.keeping import Files
from GliomaSegPanel.decisions.export import NO_SERIES, can_export, can_keep_numbers
from GliomaSegPanel.decisions.situation import Situation, Work
from GliomaSegPanel.files import path_of
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.parameters import Structures
from GliomaSegPanel.translation import _


class ExportSection:
    """Copies files of the shown result, and has the worker export DICOM objects."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._boxes = {
            self._ui.niftiCheckBox: ("segmentation.nii.gz",),
            self._ui.segNrrdCheckBox: ("segmentation.seg.nrrd",),
            self._ui.reportCheckBox: ("report.html", "measures.json", "measures.csv"),
        }
        self._dicom_boxes = {
            self._ui.dicomSegCheckBox: ExportKind.SEG,
            self._ui.rtstructCheckBox: ExportKind.RTSTRUCT,
            self._ui.srCheckBox: ExportKind.SR,
            self._ui.dicomPicturesCheckBox: ExportKind.OVERLAY,
        }
        self._plain_tooltips = {box: box.toolTip for box in self._dicom_boxes}
        self._about_numbers = self._ui.keepNumbersCheckBox.toolTip
        for box in (*self._boxes, *self._dicom_boxes):
            box.connect("toggled(bool)", lambda _on: panel.refresh())
        for edit in (self._ui.exportFolderEdit, self._ui.seriesEdit):
            edit.connect("currentPathChanged(QString)", lambda _path: panel.refresh())
        self._ui.exportFilesButton.connect("clicked()", self._on_export)
        self._ui.openReportButton.connect("clicked()", self._on_open_report)

    @property
    def _folder(self) -> Path | None:
        return path_of(self._ui.exportFolderEdit)

    @property
    def _series(self) -> Path | None:
        """The folder of the DICOM series, if the user has to name it."""
        return None if self._panel.logic.isOnDicom(self._panel.result.node) else path_of(self._ui.seriesEdit)

    @property
    def _names(self) -> list[str]:
        return [name for box, names in self._boxes.items() if box.checked for name in names]

    @property
    def _dicom(self) -> list[str]:
        return [kind for box, kind in self._dicom_boxes.items() if box.checked]

    @property
    def _by(self) -> Structures:
        """What becomes a segment or structure in DICOM objects."""
        return self._panel.parameters.structures if self._panel.parameters else Structures.REGIONS

    def _keeps_numbers(self, situation: Situation) -> bool:
        """Whether exported lesions get the numbers of the comparison."""
        wanted = self._by is Structures.LESIONS and self._panel.parameters.keepNumbers
        return wanted and can_keep_numbers(situation).allowed

    def show(self, situation: Situation) -> None:
        """Update the section."""
        self._ui.structuresFrame.visible = bool(self._dicom)
        self._ui.keepNumbersCheckBox.visible = self._by is Structures.LESIONS
        numbered = can_keep_numbers(situation)
        self._ui.keepNumbersCheckBox.enabled = numbered.allowed
        self._ui.keepNumbersCheckBox.toolTip = numbered.reason or self._about_numbers
        on_dicom = situation.shown is None or situation.shown.on_dicom
        self._ui.seriesFrame.visible = bool(self._dicom) and not on_dicom
        for box, tooltip in self._plain_tooltips.items():
            box.toolTip = tooltip if on_dicom else f"<p>{tooltip}</p><p>{NO_SERIES}</p>"
        named = path_of(self._ui.seriesEdit)
        numbers = self._keeps_numbers(situation)
        answer = can_export(situation, self._folder, self._names, self._dicom, named, numbers)
        self._panel.set_enabled(self._ui.exportFilesButton, answer)
        self._ui.openReportButton.enabled = situation.shown is not None and situation.shown.has_files

    def _on_export(self) -> None:
        with self._panel.errors_shown():
            node, logic = self._panel.result.node, self._panel.logic
            if self._dicom:
                self._panel.ensure_dicom_packages(self._dicom)
            self._ui.exportedLabel.visible = False
            if self._names:
                target = logic.exportFolder(node, self._folder)
                question = _("{folder} is there already. Replace the files in it?").format(folder=target)
                if target.exists() and not slicer.util.confirmYesNoDisplay(question, windowTitle=_("Export")):
                    return
                self._show_written(logic.exportFiles(node, self._folder, self._names))
            if self._dicom:
                folder, kinds, series = self._folder, self._dicom, self._series
                marked = {"by": self._by.value}
                if self._keeps_numbers(self._panel.situation()):
                    marked["comparison"] = logic.resultFolder(logic.comparisonWith(node)[0], Files.COMPARISON)
                self._panel.begin(
                    Work.DICOM,
                    lambda: logic.exportDicom(node, folder, kinds, series, **marked, wait=False),
                    lambda files: self._show_written(files.values()),
                )

    def _show_written(self, files: Iterable[Path]) -> None:
        """Add a line about written files below earlier ones."""
        files = list(files)
        folder = files[0].parent
        address = qt.QUrl.fromLocalFile(str(folder)).toString()
        text = _("Written to {folder}: {names}. Not a medical device.").format(
            folder=f"<a href='{address}'>{folder}</a>", names=", ".join(path.name for path in files)
        )
        before = self._ui.exportedLabel.text if self._ui.exportedLabel.visible else ""
        self._ui.exportedLabel.openExternalLinks = True
        self._ui.exportedLabel.visible = True
        self._ui.exportedLabel.text = f"{before}<p>{text}</p>"

    def _on_open_report(self) -> None:
        report = self._panel.logic.resultFolder(self._panel.result.node) / "report.html"
        qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(str(report)))
