"""Application settings: folders, the worker's Python, whether patients are named."""

from __future__ import annotations

import os
from pathlib import Path

import qt
import slicer

from GliomaSegLib.zoo.places import default_store
from GliomaSegPanel.panel import Panel

PYTHON_VARIABLE = "GLIOMASEG_PYTHON"


class Options:
    """The folders of models and results, the worker's Python, and whether patients are named in panel and results;
    stored in Slicer's settings."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        documents = Path(qt.QStandardPaths.writableLocation(qt.QStandardPaths.DocumentsLocation))
        self._edits = {
            "Store": (panel.ui.storeEdit, str(default_store())),
            "Results": (panel.ui.resultsEdit, str(documents / "GliomaSeg")),
            "Python": (panel.ui.pythonEdit, str(default_python() or "")),
        }
        for key, (edit, default) in self._edits.items():
            edit.currentPath = slicer.app.settings().value(f"GliomaSeg/{key}") or default
            edit.connect("currentPathChanged(QString)", lambda path, k=key: self._on_changed(k, path))
        self._identity = panel.ui.identityCheckBox
        self._identity.checked = str(slicer.app.settings().value("GliomaSeg/Identity")).lower() != "false"
        self._identity.connect("toggled(bool)", lambda on: self._on_changed("Identity", on))

    @property
    def keeps_identity(self) -> bool:
        """Whether patients are named in the panel, in results and in reports (usually not for research)."""
        return self._identity.checked

    @property
    def store(self) -> Path:
        """Folder of downloaded models."""
        return self._path("Store")

    @property
    def results(self) -> Path:
        """The folder of the cases' folders."""
        return self._path("Results")

    @property
    def python(self) -> Path | None:
        """The user's interpreter for the worker; ``None`` for Slicer's."""
        path = self._panel.ui.pythonEdit.currentPath.strip()
        return Path(path) if path else None

    def _path(self, key: str) -> Path:
        edit, default = self._edits[key]
        return Path(edit.currentPath.strip() or default)

    def _on_changed(self, key: str, value: str | bool) -> None:
        slicer.app.settings().setValue(f"GliomaSeg/{key}", value)
        self._panel.on_options_changed()


def default_python() -> Path | None:
    """The interpreter in the variable ``GLIOMASEG_PYTHON``; ``None`` for Slicer's."""
    named = os.environ.get(PYTHON_VARIABLE)
    return Path(named) if named else None
