"""GliomaSeg in 3D Slicer: a clinical brain MRI study in; a reviewed, measured tumour segmentation out.

The module's classes as Slicer looks for them. The panel's sections are in :mod:`GliomaSegPanel`, what they decide in
:mod:`GliomaSegPanel.decisions`, what is done in the scene in :mod:`GliomaSegLib.scene`; the network runs in a process
of its own. For research use; not a medical device.
"""

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import slicer
import vtk
from GliomaSegPanel.logic import GliomaSegLogic
from GliomaSegPanel.self_test import GliomaSegTest
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

__all__ = ["GliomaSeg", "GliomaSegLogic", "GliomaSegTest", "GliomaSegWidget"]

if importlib.util.find_spec("GliomaSegLib") is None:  # a source checkout, where the library is beside this folder
    sys.path.append(str(Path(__file__).resolve().parents[1]))


DOCUMENTATION = "https://github.com/GliomaSeg/GliomaSeg/blob/main/Testing/SLICER.md"


class GliomaSeg(ScriptedLoadableModule):
    """The description of the module."""

    def __init__(self, parent: Any) -> None:
        ScriptedLoadableModule.__init__(self, parent)
        self.parent.title = _("GliomaSeg")
        self.parent.categories = [translate("qSlicerAbstractCoreModule", "Segmentation")]
        self.parent.dependencies = ["Segmentations", "SubjectHierarchy"]
        self.parent.contributors = ["the GliomaSeg contributors (github.com/GliomaSeg/GliomaSeg/graphs/contributors)"]
        self.parent.helpText = _(
            "Segments a glioma on T1, T1 with contrast, T2 and FLAIR, or any of them; measures it; and has you "
            "correct, review and export the result. <b>Not a medical device.</b> For research use; every contour must "
            "be reviewed by a clinician."
        )
        documentation = _("Documentation")
        self.parent.helpText += f"<p><a href='{DOCUMENTATION}'>{documentation}</a></p>"
        self.parent.acknowledgementText = _(
            "The models that come with GliomaSeg were trained on images of The Cancer Imaging Archive (BraTS 2021, "
            "TCGA-LGG, BCBM-RadioGenomics) and use PyTorch and MONAI; brains are extracted by deepbet. Whose other "
            "models are, their licences and what to cite: Model, About."
        )
        slicer.app.connect("startupCompleted()", _register_sample_data)


def _register_sample_data() -> None:
    from GliomaSegPanel import sample_data  # here: not before the application has started

    sample_data.register()


class GliomaSegWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel (:class:`GliomaSegPanel.panel.Panel`): connects its sections with the scene and one another."""

    def __init__(self, parent: Any = None) -> None:
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self.parameters = None
        self.lacking: tuple[str, ...] = ()
        self._gui_tag = None

    def setup(self) -> None:
        """Called when the user opens the module for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        from GliomaSegPanel.batch import BatchSection
        from GliomaSegPanel.comparison import ComparisonSection
        from GliomaSegPanel.correct import CorrectSection
        from GliomaSegPanel.export import ExportSection
        from GliomaSegPanel.images import ImagesSection
        from GliomaSegPanel.keys import Keys
        from GliomaSegPanel.model import ModelSection
        from GliomaSegPanel.options import Options
        from GliomaSegPanel.result import ResultSection
        from GliomaSegPanel.review import ReviewSection
        from GliomaSegPanel.run import RunSection
        from GliomaSegPanel.runner import Runner

        from GliomaSegLib import NOTICE

        widget = slicer.util.loadUI(self.resourcePath("UI/GliomaSeg.ui"))
        self.layout.addWidget(widget)
        self.ui = slicer.util.childWidgetVariables(widget)
        widget.setMRMLScene(slicer.mrmlScene)
        self.ui.noticeLabel.text = _(NOTICE)
        for label in vars(self.ui).values():
            if getattr(label, "wordWrap", False):
                label.minimumWidth = 1  # a long name in a sentence does not widen the panel

        self.logic = GliomaSegLogic()
        self.runner = Runner(self.refresh, lambda: self.run.show_progress())
        self.options = Options(self)
        self.images = ImagesSection(self)
        self.model = ModelSection(self)
        self.run = RunSection(self)
        self.result = ResultSection(self)
        self.comparison = ComparisonSection(self)
        self.correct = CorrectSection(self)
        self.review = ReviewSection(self)
        self.export = ExportSection(self)
        self.batch = BatchSection(self)
        self.keys = Keys(
            {
                "next": lambda: self.result.step(1),
                "previous": lambda: self.result.step(-1),
                "accept": self.ui.acceptLesionButton.click,
                "delete": self.ui.deleteLesionButton.click,
                "outlines": self.result.toggle_outlines,
                "undo": self.ui.undoButton.click,
                "redo": self.ui.redoButton.click,
                "add": self.result.clicks.add,
                "remove": self.result.clicks.remove,
            }
        )
        self._configure_logic()

        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.StartCloseEvent, self.onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndCloseEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.EndImportEvent, self.onSceneEndClose)
        self.addObserver(slicer.mrmlScene, slicer.mrmlScene.NodeAboutToBeRemovedEvent, self._on_node_removed)
        self.initializeParameterNode()

    def cleanup(self) -> None:
        """Called when the application closes or the module is reloaded: what runs is stopped."""
        self.setParameterNode(None)
        self.runner.stop_following()
        self.keys.remove()
        self.correct.close()
        self.result.forget_scene()
        self.removeObservers()
        self.logic.close()

    def enter(self) -> None:
        """Called each time the user opens this module."""
        from GliomaSegPanel.dependencies import lacking

        self.lacking = lacking()
        self.initializeParameterNode()
        self.correct.resume()
        self.refresh()

    def exit(self) -> None:
        """Called each time the user opens a different module. What runs goes on."""
        self.result.commit_threshold()  # what another module draws meanwhile would be lost with the next preview
        self.correct.pause()
        self.keys.enable(False)
        self.result.clicks.stop()

    def onReload(self) -> None:
        """Called by the developer's button Reload: also read the panel's files again."""
        for name in [name for name in sys.modules if name.partition(".")[0] == "GliomaSegPanel"]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    # --- the scene and the parameter node ----------------------------------------------------------------------------

    def onSceneStartClose(self, caller: object, event: str) -> None:
        """Called just before the scene is closed; the logic stops what runs."""
        self.run.show_message("")  # it is about the case that is closed
        self.run.fold(has_result=False)
        self.setParameterNode(None)
        self.correct.close()
        self.result.forget_scene()

    def onSceneEndClose(self, caller: object, event: str) -> None:
        """Called just after the scene was closed, or another one was read."""
        if self.parent.isEntered or self.parameters is not None:
            self.initializeParameterNode()

    def initializeParameterNode(self) -> None:
        """Get the choices of the case, and fill in the images that the user has not chosen."""
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
            self.images.deselect(node)
            if node is self.result.node:
                self.parameters.segmentation = None

    # --- what the sections use of the panel --------------------------------------------------------------------------

    def situation(self) -> Any:
        """Everything that the panel's decisions depend on, as it is now."""
        from GliomaSegPanel.collect import collect_situation

        return collect_situation(self)

    def refresh(self) -> None:
        """Update all sections."""
        situation = self.situation()
        for section in (
            self.images, self.model, self.run, self.result, self.comparison, self.correct, self.review, self.export,
            self.batch,
        ):  # fmt: skip
            section.show(situation)
        self.keys.enable(self.parent.isEntered and not situation.editing)

    def set_enabled(self, button: Any, answer: Any) -> None:
        """Enable or disable a button; its tooltip says why."""
        button.enabled, button.toolTip = answer.allowed, answer.reason

    def show_message(self, sentences: str | list[str], kind: str = "done") -> None:
        """Show sentences below Apply; ``kind`` is ``done``, ``warning`` or ``error``."""
        self.run.show_message(sentences, kind)

    def show_error(self, error: Any) -> None:
        """Show why something failed, as :meth:`show_message`."""
        self.run.show_error(error)

    @contextlib.contextmanager
    def errors_shown(self) -> Iterator[None]:
        """A GliomaSegError that is raised inside the block is shown in the panel."""
        from GliomaSegLib.errors import GliomaSegError

        try:
            yield
        except GliomaSegError as error:
            self.run.show_error(error)
            self.refresh()

    def ensure_packages(self) -> None:
        """Install what the worker lacks, asking first; a test that replays recorded answers needs none.

        Raises:
            GliomaSegError: the user declined, or they could not be installed.
        """
        from GliomaSegPanel import dependencies

        if self.options.python is None and not self.logic.usesRecording:
            dependencies.ensure()
            self.lacking = dependencies.lacking()

    def ensure_dicom_packages(self, kinds: Iterable[str]) -> None:
        """Install what the worker lacks to write these DICOM objects, as :meth:`ensure_packages`."""
        from GliomaSegPanel import dependencies

        if self.options.python is None and not self.logic.usesRecording and {"seg", "sr"} & set(kinds):
            dependencies.ensure_dicom()

    def show_result(self, result: Any) -> None:
        """Show a result that has come into the scene."""
        self.run.show_result(result)

    def compare_if_chosen(self) -> None:
        """Compare a new result at once, when an earlier study was chosen for that."""
        self.comparison.compare_if_chosen()

    def run_options(self, situation: Any) -> dict[str, Any]:
        """Fields of a job that the panel's choices give, for one study and for a batch."""
        from GliomaSegPanel.parameters import run_options

        return run_options(situation, self.parameters)

    def begin(
        self,
        work: Any,
        start: Callable[[], Any],
        succeeded: Callable[[Any], None],
        failed: Callable[[Any], None] | None = None,
    ) -> None:
        """Start a run and follow it; an error is shown, unless ``failed`` does that."""
        with self.errors_shown():
            self.run.show_message("")
            self.runner.follow(work, start(), succeeded, failed or self.run.show_error)

    def on_options_changed(self) -> None:
        """Called when a folder or the interpreter changes; the next run uses it."""
        self._configure_logic()
        self.model.read_cards()
        self.refresh()

    def _configure_logic(self) -> None:
        self.logic.configure(python=self.options.python, results=self.options.results, store=self.options.store)
