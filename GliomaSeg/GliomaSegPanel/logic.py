"""``GliomaSegLogic``: GliomaSeg's operations in the application's scene, without the panel.

They are implemented in :class:`GliomaSegLib.scene.logic.SceneLogic`. Slicer loads this file when it starts, so the
library is imported inside the methods.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import slicer
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic


@dataclasses.dataclass(frozen=True)
class _Settings:
    """See :meth:`GliomaSegLogic.configure`."""

    python: Path | None = None
    results: Path | None = None
    store: Path | None = None
    brainsfit: bool = True


class GliomaSegLogic(ScriptedLoadableModuleLogic):
    """All methods of :class:`GliomaSegLib.scene.logic.SceneLogic` with the settings of the application, and methods
    that need the application.

    >>> logic = slicer.util.getModuleLogic("GliomaSeg")
    >>> run = logic.segment(t1c=getNode("T1c"), t2f=getNode("FLAIR"), model="ca-cnn-brats17")
    >>> run.result.segmentation
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._scene_logic = None
        self._comparison: tuple[tuple[str, int | None], dict[str, Any] | None] | None = None
        self._wanted = self._used = _Settings()

    def __getattr__(self, name: str) -> Any:
        """The methods of the scene's logic: ``segment``, ``segmentStudy``, ``processBatch``, ``openResult``,
        ``measure``, ``review``, ``install``, ``compareStudies``, ``compare``, ``lesions``, ``hasUnmeasuredEdits``,
        ``measuresOf`` and ``resultFolder``."""
        if name.startswith("_") or name == "scene":  # that asked for here has failed
            raise AttributeError(name)
        return getattr(self.scene, name)

    def getParameterNode(self) -> Any:
        """The choices of the case, typed."""
        from GliomaSegPanel.parameters import GliomaSegParameterNode

        return GliomaSegParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    # --- settings and the worker -------------------------------------------------------------------------------------

    @property
    def usesRecording(self) -> bool:
        """Whether recorded answers replace the worker: in a test of the application that lacks its packages."""
        from GliomaSegPanel.dependencies import lacking

        return slicer.app.testingEnabled() and self._wanted.python is None and bool(lacking())

    @property
    def store(self) -> Path:
        """Folder of installed models."""
        from GliomaSegLib.zoo.places import default_store

        return self._wanted.store or default_store()

    def configure(self, **settings: Any) -> None:
        """Set ``python`` (the worker's interpreter), ``results`` (folder of the cases), ``store`` (of models), each
        ``None`` for the default, and ``brainsfit``: whether BRAINSFit registers when the application has it. What runs
        is not changed."""
        self._wanted = dataclasses.replace(self._wanted, **settings)

    def close(self) -> None:
        """Stop what runs and end the worker; the next call starts it again."""
        if self._scene_logic is not None:
            self._scene_logic.close()
            self._scene_logic = None

    @property
    def scene(self) -> Any:
        """The :class:`~GliomaSegLib.scene.logic.SceneLogic` of the application's scene."""
        from GliomaSegLib.scene.logic import SceneLogic, default_python
        from GliomaSegLib.scene.registration import default_registrar
        from GliomaSegLib.worker.client import worker_command
        from GliomaSegPanel.recorded_worker import replay_command

        if self._used != self._wanted and not (self._scene_logic is not None and self._scene_logic.busy):
            self.close()
        if self._scene_logic is None:
            self._used = used = self._wanted
            command = replay_command if self.usesRecording else worker_command
            self._scene_logic = SceneLogic(
                slicer.mrmlScene,
                folder=used.results,
                store=used.store,
                registrar=default_registrar() if used.brainsfit else None,
                worker_command=command(used.python or default_python()),
                # A Python of the user's own must not load Slicer's libraries.
                environment=slicer.util.startupEnvironment() if used.python else None,
            )
        return self._scene_logic

    # --- comparison and export ---------------------------------------------------------------------------------------

    def comparisonWith(self, segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[Any, bool] | None:
        """The segmentation to whose comparison a result belongs, itself or that of a later study, and whether that
        comparison is outdated; ``None`` when there is none."""
        from GliomaSegLib.scene.comparison import comparison_with
        from GliomaSegLib.scene.keeping import Files, has_files

        found = comparison_with(segmentation)
        return found if found is not None and has_files(found[0], Files.COMPARISON) else None

    def comparisonOf(self, segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:
        """The last comparison, as JSON; ``None`` when there is none."""
        from GliomaSegLib.scene.attributes import COMPARISON
        from GliomaSegLib.scene.keeping import Files, file_of, has_files

        folder = segmentation.GetAttribute(COMPARISON)
        if not folder or not has_files(segmentation, Files.COMPARISON):
            return None
        kept = segmentation.GetNodeReference(Files.COMPARISON.role)
        key = folder, kept and kept.GetMTime()  # scenes of two computers may name the same folder
        if self._comparison is None or self._comparison[0] != key:
            content = file_of(segmentation, "comparison.json", Files.COMPARISON)
            self._comparison = key, None if content is None else json.loads(content)
        return self._comparison[1]

    def exportFolder(self, segmentation: slicer.vtkMRMLSegmentationNode, folder: Path) -> Path:
        """Where :meth:`exportFiles` writes: a folder inside ``folder`` with the case's name."""
        case = (self.measuresOf(segmentation) or {}).get("case_id") or segmentation.GetName()
        return folder / slicer.app.coreIOManager().forceFileNameValidCharacters(case)

    def exportFiles(
        self, segmentation: slicer.vtkMRMLSegmentationNode, folder: Path, names: Iterable[str]
    ) -> list[Path]:
        """Copy files of the result, e.g. ``segmentation.nii.gz``; see :func:`GliomaSegPanel.files.copy_files`."""
        from GliomaSegPanel.files import copy_files

        return copy_files(self.resultFolder(segmentation), names, self.exportFolder(segmentation, folder))

    def exportDicom(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        folder: Path,
        kinds: Iterable[str] = ("seg", "rtstruct", "sr"),
        series: Path | Iterable[Path] | None = None,
        **arguments: Any,
    ) -> Any:
        """Write DICOM objects into a new folder ``DICOM`` beside the files of :meth:`exportFiles`: what was written
        before may have been sent already. See :meth:`GliomaSegLib.scene.logic.SceneLogic.exportDicom`.

        Args:
            series: by default the files in Slicer's DICOM database of the volume that the segmentation lies on.
        """
        place, number = self.exportFolder(segmentation, folder) / "DICOM", 1
        while place.exists():
            number += 1
            place = place.with_name(f"DICOM-{number}")
        return self.scene.exportDicom(
            segmentation, place, kinds, series or self.dicomFiles(segmentation) or None, **arguments
        )

    def dicomFiles(self, segmentation: slicer.vtkMRMLSegmentationNode) -> list[Path]:
        """The files of the DICOM series from which Slicer loaded the volume that a segmentation lies on; none when it
        was not loaded from Slicer's DICOM database."""
        from GliomaSegLib.scene.dicom import files_of
        from GliomaSegLib.scene.segmentation import reference_of

        return files_of(reference_of(segmentation))

    def isOnDicom(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether the DICOM series on which a segmentation lies is known."""
        from GliomaSegLib.scene.attributes import SERIES
        from GliomaSegLib.scene.dicom import file_of_instance, instances_of
        from GliomaSegLib.scene.segmentation import reference_of

        instances = instances_of(reference_of(segmentation))
        return bool(segmentation.GetAttribute(SERIES) or (instances and file_of_instance(instances[0])))
