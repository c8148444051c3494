"""The section Batch: segments all studies of a folder, and opens a result by a double click."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from GliomaSegPanel.decisions.batch import BatchRow, can_batch, done_row, studies_in, waiting_rows
from GliomaSegPanel.decisions.situation import Situation, Work
from GliomaSegPanel.files import path_of
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.tables import fill_table, fit_columns
from GliomaSegPanel.translation import _


class BatchSection:
    """Uses the model and options of the other sections; loads nothing into the scene until a result is opened."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._studies: list[Path] = []
        self._results: list[Path | None] = []
        fit_columns(self._ui.batchTable, stretched=1)
        self._fill(())
        for edit in (self._ui.batchFolderEdit, self._ui.batchOutputEdit):
            edit.connect("currentPathChanged(QString)", lambda _path: self._on_folders())
        self._ui.batchButton.connect("clicked()", self._on_start)
        self._ui.batchTable.connect("cellDoubleClicked(int,int)", lambda row, _column: self.open(row))

    def show(self, situation: Situation) -> None:
        """Update the section."""
        answer = can_batch(situation, self._studies, path_of(self._ui.batchOutputEdit))
        self._panel.set_enabled(self._ui.batchButton, answer)

    def open(self, row: int) -> None:
        """Load the result of a study with its images."""
        folder = self._results[row] if row < len(self._results) else None
        if folder is not None:
            self._panel.begin(
                Work.OPEN, lambda: self._panel.logic.openResult(folder, wait=False), self._panel.show_result
            )

    def _on_folders(self) -> None:
        self._studies, self._results = studies_in(path_of(self._ui.batchFolderEdit)), []
        self._fill(waiting_rows(self._studies))
        self._panel.refresh()

    def _on_start(self) -> None:
        with self._panel.errors_shown():
            self._panel.ensure_packages()
            self._results = []
            self._panel.begin(Work.BATCH, self._start, self._on_done)

    def _start(self) -> Any:
        situation, output = self._panel.situation(), path_of(self._ui.batchOutputEdit)
        options = self._panel.run_options(situation)
        return self._panel.logic.processBatch(self._studies, output, on_event=self._on_event, wait=False, **options)

    def _on_event(self, event: Any) -> None:
        name = event.text.rpartition(" (")[0]
        if event.kind == "stage" and any(study.name == name for study in self._studies):
            self._fill(waiting_rows(self._studies, name))

    def _on_done(self, items: list[Any]) -> None:
        self._results = [None if item.result is None else Path(item.result["output"]) for item in items]
        self._fill(tuple(done_row(item.study, item.result, item.error) for item in items))
        failed = sum(item.result is None for item in items)
        text = _("{done} of {all} studies are segmented; double-click one to open it.")
        text = text.format(done=len(items) - failed, all=len(items))
        self._panel.show_message(text, "warning" if failed else "done")

    def _fill(self, rows: tuple[BatchRow, ...]) -> None:
        fill_table(self._ui.batchTable, rows)
        self._ui.batchTable.visible = bool(rows)
