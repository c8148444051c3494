"""What a section of the panel may use of the panel and of the other sections, so that none imports another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import slicer

    from GliomaSegLib.scene.lesions import Lesion
    from GliomaSegLib.zoo.card import Card
    from GliomaSegPanel.decisions.situation import Answer, Situation, Work
    from GliomaSegPanel.logic import GliomaSegLogic
    from GliomaSegPanel.parameters import GliomaSegParameterNode
    from GliomaSegPanel.runner import Runner


class Computer(Protocol):
    """Settings of the computer: :class:`~GliomaSegPanel.options.Options`."""

    store: Path
    results: Path
    python: Path | None


class Models(Protocol):
    """The section Model: :class:`~GliomaSegPanel.model.ModelSection`."""

    def card_for(self, situation: Situation) -> Card | None:
        """The model that the next run uses."""

    def install(self, then: Callable[[], None] | None = None, source: Path | None = None) -> None:
        """Install it, then call ``then``."""


class Result(Protocol):
    """The section Result: :class:`~GliomaSegPanel.result.ResultSection`."""

    node: slicer.vtkMRMLSegmentationNode | None
    lesions: tuple[Lesion, ...]
    lesion: Lesion | None
    can_undo: bool

    def commit_threshold(self) -> None:
        """Make the previewed threshold an edit, before the segmentation is used for something else."""

    def measure(self) -> None:
        """Update measures, report and files."""


class Correction(Protocol):
    """The section Correct: :class:`~GliomaSegPanel.correct.CorrectSection`."""

    editing: bool


class ReviewerName(Protocol):
    """The section Review: :class:`~GliomaSegPanel.review.ReviewSection`."""

    reviewer: str


class Panel(Protocol):
    """The panel: ``GliomaSegWidget``.

    Attributes:
        ui: the widgets of ``Resources/UI/GliomaSeg.ui`` by their names.
        parameters: the choices of the case; ``None`` while there is no scene.
        lacking: packages that the worker needs and Slicer's Python lacks.
    """

    ui: Any
    logic: GliomaSegLogic
    parameters: GliomaSegParameterNode | None
    runner: Runner
    lacking: tuple[str, ...]
    options: Computer
    model: Models
    result: Result
    correct: Correction
    review: ReviewerName

    def addObserver(self, node: Any, event: Any, method: Callable[..., None]) -> None:
        """See ``slicer.util.VTKObservationMixin``."""

    def situation(self) -> Situation:
        """Everything that the panel's decisions depend on, as it is now."""

    def refresh(self) -> None:
        """Update all sections."""

    def set_enabled(self, button: Any, answer: Answer) -> None:
        """Enable or disable a button; its tooltip says why."""

    def show_message(self, sentences: str | list[str], kind: str = "done") -> None:
        """Show sentences below Apply; ``kind`` is ``done``, ``warning`` or ``error``."""

    def errors_shown(self) -> AbstractContextManager[None]:
        """A GliomaSegError that is raised inside the block is shown in the panel."""

    def ensure_packages(self) -> None:
        """Install what the worker lacks, asking first."""

    def ensure_dicom_packages(self, kinds: Iterable[str]) -> None:
        """Install what the worker lacks for these DICOM objects, asking first."""

    def begin(self, work: Work, start: Callable[[], Any], succeeded: Callable[[Any], None]) -> None:
        """Start a run and follow it; an error is shown."""

    def on_options_changed(self) -> None:
        """Called when the settings of the computer change."""
