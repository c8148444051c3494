"""The interface of the panel for its sections, so that no section imports another."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from GliomaSegLib.errors import GliomaSegError
    from GliomaSegPanel.decisions.situation import Answer, Situation
    from GliomaSegPanel.logic import GliomaSegLogic
    from GliomaSegPanel.parameters import GliomaSegParameterNode
    from GliomaSegPanel.runner import Runner


class Panel(Protocol):
    """The members of ``GliomaSegWidget`` that sections use; documented there.

    Attributes:
        ui: the widgets of ``Resources/UI/GliomaSeg.ui`` by their names.
        parameters: the parameter node; ``None`` while there is no scene.
        lacking: packages that the worker needs and Slicer's Python lacks.
        options, images, model, result, correct, review: the sections of these names.
    """

    ui: Any
    logic: GliomaSegLogic
    parameters: GliomaSegParameterNode | None
    runner: Runner
    lacking: tuple[str, ...]
    options: Any
    images: Any
    model: Any
    result: Any
    correct: Any
    review: Any

    addObserver: Callable[..., None]
    situation: Callable[[], Situation]
    refresh: Callable[[], None]
    set_enabled: Callable[[Any, Answer], None]
    show_message: Callable[..., None]
    show_error: Callable[[GliomaSegError], None]
    errors_shown: Callable[[], AbstractContextManager[None]]
    ensure_packages: Callable[[], None]
    ensure_dicom_packages: Callable[[Iterable[str]], None]
    compare_if_chosen: Callable[[], None]
    show_result: Callable[[Any], None]
    run_options: Callable[[Situation], dict[str, Any]]
    begin: Callable[..., None]
    on_options_changed: Callable[[], None]
