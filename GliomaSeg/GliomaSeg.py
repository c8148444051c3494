"""GliomaSeg in 3D Slicer: a clinical brain MRI study in; a reviewed, measured tumour segmentation out.

The panel shows and asks; what it decides is in :mod:`GliomaSegPanel.decisions`, what it does in
:mod:`GliomaSegLib.scene.logic`, and the network runs in a process of its own. For research use; not a medical device.
"""

import contextlib
import dataclasses
import importlib.util
import json
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import slicer
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleLogic,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("GliomaSegLib") is None:  # a source checkout, where the library lies beside this folder
    sys.path.append(str(Path(__file__).resolve().parents[1]))


class GliomaSeg(ScriptedLoadableModule):
    """What Slicer shows of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GliomaSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy", "Markups"]
        self.parent.contributors = ["GliomaSeg contributors"]
        self.parent.helpText = _(
            "Segments a glioma on T1, T1 with contrast, T2 and FLAIR, or any of them; measures it; and has you "
            "correct, review and export the result. <b>Not a medical device.</b> For research use; every contour must "
            "be reviewed by a clinician."
        )
        self.parent.acknowledgementText = _("Licence and citation of each model are in its card: Model, About.")


class GliomaSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel. Its sections are in :mod:`GliomaSegPanel`; this class connects them with the scene and one another."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self._gui_tag = None
        self._lacking: tuple[str, ...] = ()

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from GliomaSegPanel.comparison import ComparisonSection
        from GliomaSegPanel.correct import CorrectSection
        from GliomaSegPanel.export import ExportSection
        from GliomaSegPanel.images import ImagesSection
        from GliomaSegPanel.model import ModelSection
        from GliomaSegPanel.options import Options
        from GliomaSegPanel.result import ResultSection
        from GliomaSegPanel.review import ReviewSection
        from GliomaSegPanel.run import RunSection
        from GliomaSegPanel.work import Runner

        from GliomaSegLib import NOTICE

        widget = slicer.util.loadUI(self.resourcePath("UI/GliomaSeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui.noticeLabel.text = _(NOTICE)

        self.logic = GliomaSegLogic()
        self.runner = Runner(self.refresh)
        self.options = Options(self)
        self.images = ImagesSection(self)
        self.model = ModelSection(self)
        self.run = RunSection(self)
        self.result = ResultSection(self)
        self.comparison = ComparisonSection(self)
        self.correct = CorrectSection(self)
        self.review = ReviewSection(self)
        self.export = ExportSection(self)
        self._configure_logic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._on_node_removed)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes or the module is reloaded: nothing of ours goes on."""
        self.setParameterNode(None)
        self.runner.forget()
        self.correct.close()
        self.result.forget()
        self.removeObservers()
        self.logic.close()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        from GliomaSegPanel.dependencies import lacking

        self._lacking = lacking()
        self.initializeParameterNode()
        self.correct.resume()

    def exit(self) -> None:
        """Called each time the user opens a different module. What runs goes on."""
        self.correct.pause()

    def onReload(self) -> None:
        """Developers: also read the panel's files anew."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "GliomaSegPanel"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """Called just before the scene is closed; the logic stops what runs."""
        self.run.say("")  # what is said is of the case that goes
        self.setParameterNode(None)
        self.correct.close()
        self.result.forget()

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Called just after the scene was closed, or another one was read."""
        if self.parent.isEntered or self.parameters is not None:
            self.initializeParameterNode()

    # --- parameters --------------------------------------------------------------------------------------------------

    def initializeParameterNode(self) -> None:
        """Have the choices of the case, and fill in the images that the user has not chosen."""
        self.setParameterNode(self.logic.getParameterNode())
        self.images.fill_in()

    def setParameterNode(self, parameters: Any) -> None:
        """Show other choices, or none while there is no scene."""
        if self.parameters is not None:
            self.parameters.disconnectGui(self._gui_tag)
            self.removeObserver(self.parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters_modified)
        self.parameters = parameters
        if parameters is not None:
            self._gui_tag = parameters.connectGui(self.ui)
            self.addObserver(parameters, vtk.vtkCommand.ModifiedEvent, self._on_parameters_modified)
            self._on_parameters_modified()

    def _on_parameters_modified(self, caller: object = None, event: str = "") -> None:
        node = self.parameters.segmentation
        if node is not self.result.node:
            self.correct.close()
            self.removeObservers(self._on_result_modified)
            if node is not None:
                self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._on_result_modified)
                for change in ("SourceRepresentationModified", "SegmentAdded", "SegmentRemoved"):
                    self.addObserver(
                        node.GetSegmentation(), getattr(slicer.vtkSegmentation, change), self._on_result_modified
                    )
            self.result.set_node(node)
        self.refresh()

    def _on_result_modified(self, caller: object, event: str) -> None:
        self.result.on_edited()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_node_removed(self, caller: object, event: str, node: slicer.vtkMRMLNode) -> None:
        if self.parameters is not None:
            self.images.let_go(node)
            if node is self.result.node:
                self.parameters.segmentation = None

    # --- what the sections ask of the panel --------------------------------------------------------------------------

    @property
    def store(self) -> Path:
        """Folder of downloaded models."""
        return self.options.store

    def situation(self) -> Any:
        """All that the panel's decisions depend on, as it is now."""
        from GliomaSegPanel.decisions import Earlier, Shown, Situation
        from GliomaSegPanel.parameters import ImagesFrom, chosen_volumes
        from GliomaSegPanel.result import has_probability

        from GliomaSegLib.case import TimePointKind
        from GliomaSegLib.scene.logic import TIME_POINT
        from GliomaSegLib.scene.review import review_of

        parameters, node = self.parameters, self.result.node
        if parameters is None:
            return Situation(work=self.runner.work)
        shown = None
        if node is not None:
            folder = self.logic.resultFolder(node)
            shown = Shown(
                folder=folder,
                folder_exists=folder is not None and folder.is_dir(),
                review=review_of(node).state,
                thresholdable=has_probability(node),
                edited=self.logic.hasUnmeasuredEdits(node),
                can_undo=self.result.can_undo,
                lesion_selected=self.result.lesion is not None,
                time_point=TimePointKind(node.GetAttribute(TIME_POINT) or TimePointKind.UNKNOWN),
                on_dicom=self.logic.isOnDicom(node),
                numbered=bool(compared := self.logic.comparisonWith(node)),
                outdated=bool(compared and compared[1]),
            )
        before, between = parameters.preoperativeSegmentation, parameters.betweenSegmentation

        def study(segmentation: Any, volume: Any, preoperative: bool, *others: Any) -> Any:
            folder = segmentation and self.logic.resultFolder(segmentation)
            return segmentation and Earlier(
                is_preoperative=preoperative,
                is_shown=any(segmentation is other for other in others),
                has_results=folder is not None and folder.is_dir(),
                has_volume=volume is not None,
            )

        is_preoperative = parameters.earlierTime.value is TimePointKind.PREOPERATIVE
        situation = Situation(
            chosen={sequence: volume.GetID() for sequence, volume in chosen_volumes(parameters).items()},
            from_folder=parameters.imagesFrom is ImagesFrom.FOLDER,
            study_folder=Path(parameters.studyFolder) if parameters.studyFolder else None,
            study_time=parameters.timePoint.value,
            lacking=self._lacking,
            own_python=self.options.python is not None,
            work=self.runner.work,
            shown=shown,
            earlier=study(before, parameters.preoperativeVolume, is_preoperative, node),
            between=study(between, parameters.betweenVolume, False, node, before),
            baseline=parameters.baseline.value,
            editing=self.correct.editing,
            reviewer=self.review.reviewer,
        )
        entry = self.model.entry_for(situation)
        if entry is None:
            return situation
        installed, removable = entry.is_installed(self.store), entry.is_removable(self.store)
        return dataclasses.replace(situation, entry=entry, installed=installed, removable=removable)

    def refresh(self) -> None:
        """Bring all sections in line with the situation."""
        situation = self.situation()
        for section in (
            self.images, self.model, self.run, self.result, self.comparison, self.correct, self.review, self.export
        ):  # fmt: skip
            section.show(situation)

    def allow(self, button: Any, answer: Any) -> None:
        """Switch a button on or off; its tooltip says why."""
        button.enabled, button.toolTip = answer.allowed, answer.reason

    def say(self, sentences: str | list[str], kind: str = "done") -> None:
        """Tell the user; ``kind`` is ``done``, ``warning`` or ``error``."""
        self.run.say(sentences, kind)

    @contextlib.contextmanager
    def sentences(self) -> Iterator[None]:
        """What cannot be done inside the block is told as a sentence in the panel."""
        from GliomaSegLib.errors import GliomaSegError

        try:
            yield
        except GliomaSegError as error:
            self.run.failed(error)
            self.refresh()

    def have_packages(self) -> None:
        """Have what the worker needs, asking first; without them a test goes on with the stand-in.

        Raises:
            GliomaSegError: the user declined, or they could not be installed.
        """
        from GliomaSegPanel import dependencies

        if self.options.python is None and not self.logic.standIn:
            dependencies.ensure()
            self._lacking = dependencies.lacking()

    def have_dicom_packages(self, kinds: Iterable[str]) -> None:
        """Have what the worker needs to write these DICOM objects, as :meth:`have_packages`."""
        from GliomaSegPanel import dependencies

        if self.options.python is None and not self.logic.standIn and {"seg", "sr"} & set(kinds):
            dependencies.ensure_dicom()

    def begin(self, work: Any, start: Callable[[], Any], succeeded: Callable[[Any], None]) -> None:
        """Start something in the worker and follow it; a refusal is told at once."""
        with self.sentences():
            self.run.say("")
            self.runner.follow(work, start(), succeeded, self.run.failed)

    def on_options_changed(self) -> None:
        """Another folder or another Python: the next run takes it."""
        self._configure_logic()
        self.model.read_cards()
        self.refresh()

    def _configure_logic(self) -> None:
        self.logic.configure(python=self.options.python, results=self.options.results, store=self.options.store)

    def on_segmented(self, result: Any) -> None:
        """Show a new result: its numbers, then its reference image and its largest lesion in the views."""
        import qt

        if result.segmentation.GetScene() is None:  # deleted, or the scene was closed, in this very moment
            return
        self.parameters.segmentation = result.segmentation
        self.ui.resultButton.collapsed = False
        for section in (self.ui.correctButton, self.ui.reviewButton, self.ui.exportButton):
            section.collapsed = False
        self._tell_what_came(result.result.get("warnings", ()), result.result.get("training"))
        qt.QTimer.singleShot(0, self._show_in_views)  # the panel is drawn first

    def _tell_what_came(self, warnings: Iterable[str], training: str | None) -> None:
        """In a line that it is done, the warnings that do not stand above already, and what the model knows."""
        from GliomaSegPanel.decisions import cost

        above = cost(self.situation())
        new = [one for one in dict.fromkeys([*self.runner.warnings, *warnings]) if one != above]
        done, found = _("Done in {seconds} s.").format(seconds=self.runner.seconds), bool(self.result.lesions)
        look = _("Look at every contour.") if found else _("No tumour was found.")
        told = [f"{done} {look}", *new, *([training] if training else [])]
        self.say(told, "warning" if new or not found else "done")

    def _show_in_views(self) -> None:
        from GliomaSegPanel.correct import reference_of
        from GliomaSegPanel.result import jump_to

        node = self.result.node
        reference = reference_of(node) if node is not None else None
        if reference is not None:
            slicer.util.setSliceViewerLayers(background=reference, fit=True)
        if self.result.lesions:
            jump_to(self.result.lesions[0].centre_ras_mm)


@dataclasses.dataclass(frozen=True)
class _Setting:
    """See :meth:`GliomaSegLogic.configure`."""

    python: Path | None = None
    results: Path | None = None
    store: Path | None = None
    brainsfit: bool = True


class GliomaSegLogic(ScriptedLoadableModuleLogic):
    """What GliomaSeg does in the scene, without its panel; see :class:`GliomaSegLib.scene.logic.SceneLogic`.

    >>> logic = slicer.util.getModuleLogic("GliomaSeg")
    >>> run = logic.segment(t1c=getNode("T1c"), t2f=getNode("FLAIR"), model="ca-cnn-brats17")
    >>> run.result.segmentation
    """

    def __init__(self) -> None:
        ScriptedLoadableModuleLogic.__init__(self)
        self._scene_logic = None
        self._run = None
        self._comparison: tuple[Path, dict[str, Any]] | None = None
        self._wanted = self._used = _Setting()

    def getParameterNode(self) -> Any:
        """The choices of the case, typed."""
        from GliomaSegPanel.parameters import GliomaSegParameterNode

        return GliomaSegParameterNode(ScriptedLoadableModuleLogic.getParameterNode(self))

    @property
    def standIn(self) -> bool:
        """Whether the stand-in takes the worker's place: in a test, when its packages are not there."""
        from GliomaSegPanel.dependencies import lacking

        return slicer.app.testingEnabled() and self._wanted.python is None and bool(lacking())

    @property
    def store(self) -> Path:
        """Folder of installed models."""
        from GliomaSegLib.zoo.catalogue import default_store

        return self._wanted.store or default_store()

    def configure(self, **setting: Any) -> None:
        """Choose ``python`` (the worker's interpreter), ``results`` (where cases are kept), ``store`` (of models), each
        ``None`` for the usual one, and ``brainsfit``: whether it registers when the application has it. What runs goes
        on as it was started."""
        self._wanted = dataclasses.replace(self._wanted, **setting)

    @property
    def busy(self) -> bool:
        """Whether something runs."""
        return self._run is not None and not self._run.done

    def close(self) -> None:
        """Stop what runs and end the worker; the next call starts it again."""
        if self._scene_logic is not None:
            self._scene_logic.close()
            self._scene_logic = None

    @property
    def scene(self) -> Any:
        """The logic of the application's scene."""
        from GliomaSegLib.scene.logic import SceneLogic, default_python
        from GliomaSegLib.scene.registration import default_registrar
        from GliomaSegLib.worker.client import worker_command

        if self._used != self._wanted and not self.busy:
            self.close()
        if self._scene_logic is None:
            self._used = used = self._wanted
            self._scene_logic = SceneLogic(
                slicer.mrmlScene,
                folder=used.results,
                registrar=default_registrar() if used.brainsfit else None,
                worker_command=worker_command(used.python or default_python(), stand_in=self.standIn),
                # A Python of the user's own must not load Slicer's libraries.
                environment=slicer.util.startupEnvironment() if used.python else None,
            )
        return self._scene_logic

    def segment(self, **arguments: Any) -> Any:
        """Segment volume nodes; see :meth:`GliomaSegLib.scene.logic.SceneLogic.segment`."""
        return self._started(self.scene.segment(**self._with_store(arguments)))

    def segmentStudy(self, path: Path | str, **arguments: Any) -> Any:
        """Segment a study on disk; see :meth:`GliomaSegLib.scene.logic.SceneLogic.segmentStudy`."""
        return self._started(self.scene.segmentStudy(path, **self._with_store(arguments)))

    def processBatch(self, studies: Iterable[Path | str], output: Path | str, **arguments: Any) -> Any:
        """Segment studies on disk; see :meth:`GliomaSegLib.scene.logic.SceneLogic.processBatch`."""
        return self._started(self.scene.processBatch(studies, output, **self._with_store(arguments)))

    def measure(self, segmentation: slicer.vtkMRMLSegmentationNode, **arguments: Any) -> Any:
        """Measure after an edit; see :meth:`GliomaSegLib.scene.logic.SceneLogic.measure`."""
        return self._started(self.scene.measure(segmentation, **arguments))

    def compare(self, segmentation: slicer.vtkMRMLSegmentationNode, other: slicer.vtkMRMLSegmentationNode) -> Any:
        """Agreement of two segmentations; see :meth:`GliomaSegLib.scene.logic.SceneLogic.compare`."""
        return self.scene.compare(segmentation, other)

    def compareStudies(
        self,
        segmentation: slicer.vtkMRMLSegmentationNode,
        earlier: slicer.vtkMRMLSegmentationNode,
        earlier_volume: slicer.vtkMRMLScalarVolumeNode | None = None,
        **arguments: Any,
    ) -> Any:
        """Residual tumour, extent of resection, lesions and response since an earlier study; see
        :meth:`GliomaSegLib.scene.logic.SceneLogic.compareStudies`."""
        return self._started(self.scene.compareStudies(segmentation, earlier, earlier_volume, **arguments))

    def comparisonFolder(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Path | None:
        """The folder of the last comparison of a segmentation; ``None`` when there is none."""
        from GliomaSegLib.scene.comparison import COMPARISON

        folder = segmentation.GetAttribute(COMPARISON)
        return Path(folder) if folder else None

    def comparisonWith(self, segmentation: slicer.vtkMRMLSegmentationNode) -> tuple[Path, bool] | None:
        """The folder of a comparison in which a result takes part, its own or that of a later study, and whether that
        is outdated; ``None`` when there is none on this computer."""
        from GliomaSegLib.scene.comparison import comparison_with

        found = comparison_with(segmentation)
        return found if found is not None and found[0].is_dir() else None

    def comparisonOf(self, segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:
        """The last comparison, as JSON; ``None`` when there is none, or its folder is not there."""
        folder = self.comparisonFolder(segmentation)
        if folder is None or not (folder / "comparison.json").is_file():
            return None
        if self._comparison is None or self._comparison[0] != folder:
            text = (folder / "comparison.json").read_text(encoding="utf-8")
            self._comparison = folder, json.loads(text)  # every comparison has a folder of its own
        return self._comparison[1]

    def review(self, segmentation: slicer.vtkMRMLSegmentationNode, state: str, by: str, **arguments: Any) -> Any:
        """Record a review; see :meth:`GliomaSegLib.scene.logic.SceneLogic.review`."""
        return self._started(self.scene.review(segmentation, state, by, **arguments))

    def install(self, model: str, **arguments: Any) -> Any:
        """Install a model's weights; see :meth:`GliomaSegLib.scene.logic.SceneLogic.install`."""
        return self._started(self.scene.install(model, self._wanted.store, **arguments))

    def lesions(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Any:
        """The lesions as they are now; see :meth:`GliomaSegLib.scene.logic.SceneLogic.lesions`."""
        return self.scene.lesions(segmentation)

    def hasUnmeasuredEdits(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether the segmentation was changed since it was measured."""
        return self.scene.has_unmeasured_edits(segmentation)

    def resultFolder(self, segmentation: slicer.vtkMRMLSegmentationNode) -> Path | None:
        """The folder of results that a segmentation shows; ``None`` when it was not made by GliomaSeg."""
        from GliomaSegLib.scene.segmentation import OUTPUT

        output = segmentation.GetAttribute(OUTPUT)
        return Path(output) if output else None

    def measuresOf(self, segmentation: slicer.vtkMRMLSegmentationNode) -> dict[str, Any] | None:
        """The last measures, as JSON; ``None`` when the folder of results is not there."""
        folder = self.resultFolder(segmentation)
        if folder is None or not (folder / "measures.json").is_file():
            return None
        return json.loads((folder / "measures.json").read_text(encoding="utf-8"))

    def exportFolder(self, segmentation: slicer.vtkMRMLSegmentationNode, folder: Path) -> Path:
        """Where :meth:`exportFiles` writes: a folder inside ``folder`` with the case's name."""
        case = (self.measuresOf(segmentation) or {}).get("case_id") or segmentation.GetName()
        return folder / slicer.app.coreIOManager().forceFileNameValidCharacters(case)

    def exportFiles(
        self, segmentation: slicer.vtkMRMLSegmentationNode, folder: Path, names: Iterable[str]
    ) -> list[Path]:
        """Copy files of the result, e.g. ``segmentation.nii.gz``; each appears whole, in place of an older one.

        Raises:
            InputError: a file is not there, or cannot be written.
        """
        from GliomaSegLib.errors import InputError

        source, target = self.resultFolder(segmentation), self.exportFolder(segmentation, folder)
        try:
            target.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".partial-", dir=target) as partial:
                copies = [Path(shutil.copy2(source / name, partial)) for name in names]
                return [copy.replace(target / copy.name) for copy in copies]
        except OSError as error:
            raise InputError(
                _("{name} could not be written to {folder} ({why}); choose another folder.").format(
                    name=Path(error.filename or "").name or _("The result"), folder=target, why=error.strerror
                )
            ) from error

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
        series = series or self.dicomFiles(segmentation) or None
        return self._started(self.scene.exportDicom(segmentation, place, kinds, series, **arguments))

    def dicomFiles(self, segmentation: slicer.vtkMRMLSegmentationNode) -> list[Path]:
        """The files of the DICOM series from which Slicer loaded the volume that a segmentation lies on; none when it
        was not loaded from Slicer's DICOM database."""
        files = [_file_of(instance) for instance in _instances(segmentation)]
        return files if None not in files else []

    def isOnDicom(self, segmentation: slicer.vtkMRMLSegmentationNode) -> bool:
        """Whether the DICOM series on which a segmentation lies is known."""
        from GliomaSegLib.scene.logic import SERIES

        instances = _instances(segmentation)
        return bool(segmentation.GetAttribute(SERIES) or (instances and _file_of(instances[0])))

    def _started(self, run: Any) -> Any:
        self._run = run
        return run

    def _with_store(self, arguments: dict[str, Any]) -> dict[str, Any]:
        store = self._wanted.store
        return {"store": str(store), **arguments} if store is not None else arguments


def _instances(segmentation: slicer.vtkMRMLSegmentationNode) -> list[str]:
    """SOP Instance UIDs of the slices of the volume that a segmentation lies on, as Slicer notes them at loading."""
    volume = segmentation.GetNodeReference(slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole())
    return (volume.GetAttribute("DICOM.instanceUIDs") or "").split() if volume is not None else []


def _file_of(instance: str) -> Path | None:
    """The file of a DICOM instance, if Slicer's database has it and it is still there."""
    database = getattr(slicer, "dicomDatabase", None)
    name = database.fileForInstance(instance) if database is not None and database.isOpen else ""
    return Path(name) if name and Path(name).is_file() else None


class GliomaSegTest(ScriptedLoadableModuleTest):
    """From loading to an edited, reviewed and exported result, on a generated head: no download, nothing installed.

    The worker is the real one when its packages and a model are there, else the stand-in; the log says which.
    """

    def setUp(self) -> None:
        """An empty scene, and results that go away with the test."""
        slicer.mrmlScene.Clear(0)
        self._results = tempfile.TemporaryDirectory(prefix="GliomaSegTest-")

    def tearDown(self) -> None:
        """Leave nothing behind."""
        slicer.mrmlScene.Clear(0)
        self._results.cleanup()

    def runTest(self) -> None:
        """Run all tests."""
        for test in (
            self.test_panel, self.test_comparison_and_dicom, self.test_three_studies, self.test_logic, self.test_cancel,
            self.test_scene_closed, self.test_refusals,
        ):  # fmt: skip
            self.setUp()
            try:
                test()
            finally:
                self.tearDown()
        self.delayDisplay("All tests passed.")

    def test_panel(self) -> None:
        """A clinician's way: Apply, look, delete a lesion, undo, correct, measure, approve, export."""
        from GliomaSegPanel.parameters import Brain

        from GliomaSegLib.scene.review import EDITED, review_of

        self.delayDisplay("The panel: from the images to the exported result.")
        head = _load_head()
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
        volume = _volume_ml(node)
        assert abs(volume / _TUMOUR_ML - 1) < 0.25

        widget.ui.lesionsTable.selectRow(0)
        assert _distance(_shown_point(), _TUMOUR_RAS) < 5, _shown_point()
        widget.ui.deleteLesionButton.click()
        assert widget.ui.lesionsTable.rowCount == 0
        widget.ui.undoButton.click()
        assert abs(_volume_ml(node) - volume) < 1e-6

        widget.ui.startEditingButton.click()
        assert widget.ui.segmentEditor.sourceVolumeNode() == head["t1c"]
        assert not widget.ui.applyButton.enabled
        _remove_upper_half(node)
        self._press(widget, widget.ui.finishEditingButton)
        measured = widget.logic.measuresOf(node)["volumes"][0]["volume_ml"]
        assert abs(measured - _volume_ml(node)) < 0.01
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
        _remove_upper_half(node)
        assert review_of(node).state == EDITED, "an edit voids an approval"
        self._until(lambda: "Edited" in widget.ui.reviewStateLabel.text)  # told when the user pauses

    def test_comparison_and_dicom(self) -> None:
        """After surgery: the result is compared with an earlier segmentation, and exported as DICOM."""
        from GliomaSegPanel.parameters import Brain, StudyTime

        from GliomaSegLib.scene.comparison import OUTDATED, chart_of

        self.delayDisplay("Two studies are compared, and the result is exported as DICOM.")
        head = _load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        widget.parameters.timePoint = StudyTime.POSTOPERATIVE
        widget.parameters.daysSinceSurgery = 2
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        assert "Choose the segmentation of the earlier study" in widget.ui.compareStudiesButton.toolTip
        widget.parameters.preoperativeSegmentation = _drawn_like(node, head["t1c"])
        assert "Choose the T1 + contrast" in widget.ui.compareStudiesButton.toolTip
        assert not widget.parameters.preoperativeSegmentation.GetDisplayNode().GetVisibility()
        widget.parameters.preoperativeVolume = head["t1c"]
        _remove_upper_half(node)
        self._until(lambda: "Update the measures" in widget.ui.compareStudiesButton.toolTip)
        self._press(widget, widget.ui.measureButton)
        self._press(widget, widget.ui.compareStudiesButton)
        assert widget.ui.answersLabel.text, widget.ui.messageLabel.text
        table = widget.ui.comparisonTable
        earlier, now = (float(table.item(0, column).text()) for column in (1, 3))
        assert now < 0.8 * earlier
        assert table.isColumnHidden(2)
        assert (widget.logic.comparisonFolder(node) / "comparison.html").is_file()
        widget.ui.growthButton.click()
        shown = slicer.app.layoutManager().plotWidget(0).mrmlPlotViewNode().GetPlotChartNode()
        assert shown == chart_of(node)

        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.rtstructCheckBox.checked = True
            assert "NIfTI" in widget.ui.exportFilesButton.toolTip
            assert not widget.ui.exportFilesButton.enabled
            widget.ui.seriesEdit.currentPath = str(_written_series(head["t1c"], Path(folder) / "series"))
            self._press(widget, widget.ui.exportFilesButton)
            widget.ui.rtstructCheckBox.checked = False
            assert list(Path(folder).rglob("segmentation.nii.gz"))
            written = [path.name for path in Path(folder).rglob("rtstruct.dcm")]
            if widget.logic.standIn:
                assert "stand-in cannot" in widget.ui.messageLabel.text
            else:
                assert written == ["rtstruct.dcm"], widget.ui.messageLabel.text
        assert not widget.ui.comparisonOutdatedLabel.visible
        _remove_upper_half(widget.parameters.preoperativeSegmentation)
        assert node.GetAttribute(OUTDATED)
        self._until(lambda: widget.ui.comparisonOutdatedLabel.visible)

    def test_three_studies(self) -> None:
        """A study between, as the baseline, followed through a deformation; and lesions exported with their numbers."""
        from GliomaSegPanel.parameters import Baseline, Brain, Structures, StudyTime

        self.delayDisplay("Three studies are compared, and the lesions exported with their numbers.")
        head = _load_head()
        widget = self._opened_panel()
        widget.parameters.brain = Brain.STRIPPED
        widget.parameters.timePoint = StudyTime.POSTOPERATIVE
        self._press(widget, widget.ui.applyButton)
        node = widget.parameters.segmentation
        widget.parameters.preoperativeSegmentation = _drawn_like(node, head["t1c"])
        widget.parameters.preoperativeVolume = head["t1c"]
        widget.parameters.betweenSegmentation = _drawn_like(node, head["t1c"])
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
        if not widget.logic.standIn:  # which follows no lesions
            assert comparison["baseline"] == 1
            assert "demons" in comparison["deformation"]
        with tempfile.TemporaryDirectory() as folder:
            widget.ui.exportFolderEdit.currentPath = folder
            widget.ui.seriesEdit.currentPath = str(_written_series(head["t1c"], Path(folder) / "series"))
            self._press(widget, widget.ui.exportFilesButton)
            written = [path.name for path in Path(folder).rglob("seg.dcm")]
            assert written == ([] if widget.logic.standIn else ["seg.dcm"]), widget.ui.messageLabel.text
            _remove_upper_half(widget.parameters.betweenSegmentation)
            self._until(lambda: "The comparison is out of date" in widget.ui.exportFilesButton.toolTip)
        widget.ui.dicomSegCheckBox.checked = False

    def test_logic(self) -> None:
        """A researcher's way, and the scene saved and read again."""
        from GliomaSegLib.scene.segmentation import labels_of

        self.delayDisplay("The logic: segment, compare, save and reload the scene.")
        head = _load_head()
        logic = self._logic()
        run = logic.segment(t1c=head["t1c"], t2f=head["t2f"], model=_model(logic), brain="stripped")
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

        head = _load_head()
        logic = self._logic()
        before = _node_ids()
        run = logic.segment(t1c=head["t1c"], t2f=head["t2f"], model=_model(logic), brain="stripped", wait=False)
        run.poll()
        run.cancel()
        with self.assertRaises(Cancelled):  # noqa: PT027 - Slicer has no pytest
            run.wait()
        assert _node_ids() == before, _node_ids() ^ before
        assert [path for path in Path(self._results.name).iterdir() if path.is_dir()] == []
        logic.close()

    def test_scene_closed(self) -> None:
        """Closing the scene stops what runs; the panel is ready for the next patient."""
        self.delayDisplay("The scene is closed while the worker runs.")
        _load_head()
        widget = self._opened_panel()
        widget.ui.applyButton.click()
        slicer.mrmlScene.Clear(0)
        self._wait(widget)
        assert widget.parameters.segmentation is None
        assert slicer.util.getNodesByClass("vtkMRMLSegmentationNode") == []
        assert not widget.ui.applyButton.enabled
        assert "choose at least one sequence" in widget.ui.applyButton.toolTip

    def test_refusals(self) -> None:
        """What cannot be used is refused in a sentence, and what is deleted is chosen no more."""
        self.delayDisplay("What cannot be used is refused.")
        from GliomaSegLib.errors import InputError

        widget = self._opened_panel()
        assert not widget.ui.applyButton.enabled
        head = _load_head()
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
            logic.segment(model=_model(logic))
        logic.close()

    def _logic(self) -> GliomaSegLogic:
        from GliomaSegPanel.options import default_python

        logic = GliomaSegLogic()
        logic.configure(python=default_python(), results=Path(self._results.name))
        print(f"GliomaSegTest uses {'the stand-in' if logic.standIn else 'the worker'}.")
        return logic

    def _opened_panel(self) -> GliomaSegWidget:
        slicer.util.selectModule("GliomaSeg")
        slicer.app.processEvents()
        widget = slicer.util.getModuleWidget("GliomaSeg")
        widget.logic.configure(results=Path(self._results.name))
        widget.parameters.model = _model(widget.logic)
        widget.images.fill_in()
        return widget

    def _press(self, widget: GliomaSegWidget, button: Any) -> None:
        """Press a button that starts work, and wait for its end."""
        assert button.enabled, button.toolTip
        button.click()
        self._wait(widget)

    def _wait(self, widget: GliomaSegWidget) -> None:
        while widget.runner.work is not None:
            slicer.app.processEvents()
            time.sleep(0.02)
        slicer.app.processEvents()

    def _until(self, happened: Callable[[], bool]) -> None:
        """Wait for what the panel does a little later."""
        end = time.monotonic() + 10
        while not happened():
            assert time.monotonic() < end, "it did not happen within 10 s"
            slicer.app.processEvents()
            time.sleep(0.02)


# --- the head of the test ---------------------------------------------------------------------------------------------

_VOXELS, _SPACING_MM = 80, 2.0
_HEAD_MM, _BRAIN_MM, _EDEMA_MM, _CORE_MM, _NECROSIS_MM = 74.0, 66.0, 20.0, 12.0, 6.0
_TUMOUR_RAS = (30.0, 14.0, 10.0)  # the patient's right
_TUMOUR_ML = 4 / 3 * np.pi * _EDEMA_MM**3 / 1000


def _model(logic: GliomaSegLogic) -> str:
    """A model that is on this computer, so that nothing is downloaded; any for the stand-in."""
    from GliomaSegLib.zoo.catalogue import entries

    known = entries()
    return next((entry.id for entry in known if entry.is_installed(logic.store)), known[0].id)


def _load_head() -> dict[str, slicer.vtkMRMLScalarVolumeNode]:
    """T1 + contrast and FLAIR of a round head with a round tumour of known size and place."""
    middle = (_VOXELS - 1) / 2
    k, j, i = (np.indices((_VOXELS,) * 3) - middle) * _SPACING_MM
    ras = np.stack([-i, -j, k])
    from_centre = np.sqrt((ras**2).sum(axis=0))
    from_tumour = np.sqrt(((ras - np.reshape(_TUMOUR_RAS, (3, 1, 1, 1))) ** 2).sum(axis=0))
    noise = np.random.default_rng(0).normal(0, 4, from_centre.shape)
    images = {}
    for name, title, values in (("t1c", "T1 post gad", (90, 80, 200, 40)), ("t2f", "FLAIR", (100, 210, 190, 150))):
        brain, edema, core, necrosis = values
        image = np.where(from_centre < _BRAIN_MM, brain + noise, 0)
        for radius, value in ((_EDEMA_MM, edema), (_CORE_MM, core), (_NECROSIS_MM, necrosis)):
            image = np.where(from_tumour < radius, value + noise, image)
        node = slicer.util.addVolumeFromArray(np.clip(image, 0, None).astype(np.float32), name=title)
        node.SetIJKToRASDirections(-1, 0, 0, 0, -1, 0, 0, 0, 1)
        node.SetSpacing(*(_SPACING_MM,) * 3)
        node.SetOrigin(middle * _SPACING_MM, middle * _SPACING_MM, -middle * _SPACING_MM)
        images[name] = node
    return images


def _drawn_like(
    node: slicer.vtkMRMLSegmentationNode, volume: slicer.vtkMRMLScalarVolumeNode
) -> slicer.vtkMRMLSegmentationNode:
    """A segmentation of a volume with the same segments, which knows of no folder of results."""
    copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLSegmentationNode", "before surgery")
    copy.GetSegmentation().DeepCopy(node.GetSegmentation())
    copy.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    copy.CreateDefaultDisplayNodes()
    return copy


def _written_series(volume: slicer.vtkMRMLScalarVolumeNode, folder: Path) -> Path:
    """A volume of the test as a DICOM series; its axes are those of the patient."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

    folder.mkdir()
    right, anterior, superior = volume.GetOrigin()
    study, series, frame = (generate_uid() for _ in range(3))
    for index, pixels in enumerate(slicer.util.arrayFromVolume(volume).astype("<i2")):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, generate_uid()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        slice_ = FileDataset("", {}, file_meta=meta, preamble=bytes(128))
        elements = {
            "SOPClassUID": MRImageStorage, "SOPInstanceUID": meta.MediaStorageSOPInstanceUID, "StudyInstanceUID": study,
            "SeriesInstanceUID": series, "FrameOfReferenceUID": frame, "Modality": "MR", "PatientName": "Test^Head",
            "PatientID": "GliomaSegTest", "PatientBirthDate": "", "PatientSex": "", "StudyDate": "20260101",
            "StudyTime": "", "StudyID": "1", "AccessionNumber": "", "ReferringPhysicianName": "", "Manufacturer": "",
            "PositionReferenceIndicator": "", "SeriesNumber": 1, "InstanceNumber": index + 1,
            "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND"], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
            "ImagePositionPatient": [-right, -anterior, superior + index * _SPACING_MM],
            "PixelSpacing": [_SPACING_MM] * 2, "SliceThickness": _SPACING_MM, "Rows": _VOXELS, "Columns": _VOXELS,
            "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "BitsAllocated": 16, "BitsStored": 16,
            "HighBit": 15, "PixelRepresentation": 1, "PixelData": pixels.tobytes(),
        }  # fmt: skip
        for keyword, value in elements.items():
            setattr(slice_, keyword, value)
        slice_.save_as(folder / f"{index}.dcm", enforce_file_format=True)
    return folder


def _node_ids() -> set[str]:
    """All nodes but the subject hierarchy, which Slicer makes when it is first asked for."""
    nodes = slicer.util.getNodesByClass("vtkMRMLNode")
    return {node.GetID() for node in nodes if not node.IsA("vtkMRMLSubjectHierarchyNode")}


def _volume_ml(node: slicer.vtkMRMLSegmentationNode) -> float:
    """Volume of the whole tumour."""
    from GliomaSegLib.label_maps import region_mask
    from GliomaSegLib.labels import Region
    from GliomaSegLib.scene.segmentation import labels_of

    labels, matrix = labels_of(node)
    return float(region_mask(labels, Region.WT).sum() * abs(np.linalg.det(matrix[:3, :3])) / 1000)


def _remove_upper_half(node: slicer.vtkMRMLSegmentationNode) -> None:
    """An edit as the Segment Editor makes it: voxels of the segments' label maps are cleared."""
    from GliomaSegLib.label_maps import region_mask
    from GliomaSegLib.labels import Region
    from GliomaSegLib.scene.segmentation import labels_of, set_labels

    labels, _matrix = labels_of(node)
    occupied = np.flatnonzero(region_mask(labels, Region.WT).any(axis=(1, 2)))
    labels[int(occupied.mean()) :] = 0
    set_labels(node, labels)


def _shown_point() -> tuple[float, ...]:
    """What the axial view is centred on, RAS mm."""
    matrix = slicer.app.layoutManager().sliceWidget("Red").mrmlSliceNode().GetSliceToRAS()
    return tuple(matrix.GetElement(row, 3) for row in range(3))


def _distance(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    return float(np.linalg.norm(np.subtract(one, other)))
