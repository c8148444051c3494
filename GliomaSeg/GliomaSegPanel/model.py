"""The section Model: the choice of a model, its card, its installation and removal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import qt
import slicer

from GliomaSegLib.errors import GliomaSegError
from GliomaSegLib.zoo.card import Card
from GliomaSegLib.zoo.catalogue import tumour_models
from GliomaSegLib.zoo.store import Store
from GliomaSegPanel.decisions.model_page import card_html
from GliomaSegPanel.decisions.models import (
    ModelChoice,
    can_download,
    can_remove_model,
    first_choice,
    model_choices,
    task_titles,
    wrong_time,
)
from GliomaSegPanel.decisions.situation import Situation, Work
from GliomaSegPanel.decisions.titles import download_size
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.translation import _


class ModelSection:
    """The list of models, sorted by how well they suit the images."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._choices: tuple[ModelChoice, ...] = ()
        self._ui.cardBrowser.visible = False
        self.read_cards()
        self._ui.taskComboBox.connect("activated(int)", self._on_task)
        self._ui.modelComboBox.connect("activated(int)", self._on_chosen)
        self._ui.cardButton.connect("toggled(bool)", self._on_card)
        self._ui.downloadButton.connect("clicked()", self._on_download)
        self._menu = qt.QMenu(self._ui.downloadButton)
        for title, ask in (
            (_("Install from a folder …"), qt.QFileDialog.getExistingDirectory),
            (_("Install from a file …"), qt.QFileDialog.getOpenFileName),
        ):
            self._menu.addAction(title).connect("triggered()", lambda t=title, a=ask: self._on_install_from(t, a))
        self._ui.downloadButton.setMenu(self._menu)
        self._ui.removeModelButton.connect("clicked()", self._on_remove)

    def read_cards(self) -> None:
        """Read the cards of all models, including the user's own in the chosen store."""
        self._cards = {card.id: card for card in tumour_models(self._panel.options.store)}
        named = task_titles(self._cards.values())
        self._ui.taskComboBox.clear()
        for task, title in {"": _("all tasks"), **named}.items():
            self._ui.taskComboBox.addItem(title, task)
        self._ui.taskFrame.visible = len(named) > 1

    def cards_for(self, situation: Situation) -> tuple[Card | None, Card | None]:
        """The model that the user has chosen, or else the best installed one; and a better one to offer."""
        chosen = self._cards.get(self._panel.parameters.model)
        if chosen is not None:
            return chosen, None
        first, better = first_choice(self._choices_for(situation))
        return self._cards.get(first), self._cards.get(better)

    def offer(self, model: str) -> None:
        """Choose a model that is not installed yet, and install it."""
        self._panel.parameters.model = model
        self._on_download()

    def show(self, situation: Situation) -> None:
        """Update the section."""
        if self._panel.parameters is not None:
            self._ui.taskComboBox.currentIndex = self._ui.taskComboBox.findData(self._panel.parameters.task)
            self._list(self._choices_for(situation))
        index = self._ui.modelComboBox.findData(situation.card.id if situation.card else "")
        self._ui.modelComboBox.currentIndex = index
        self._ui.modelComboBox.enabled = situation.work is None
        unsuited = wrong_time(situation.card, situation) if situation.card is not None else ""
        self._ui.unsuitedLabel.visible = bool(unsuited)
        self._ui.unsuitedLabel.text = unsuited
        self._panel.set_enabled(self._ui.downloadButton, can_download(situation))
        self._panel.set_enabled(self._ui.removeModelButton, can_remove_model(situation))
        self._ui.downloadButton.visible = not situation.installed
        self._ui.removeModelButton.visible = situation.removable
        if self._ui.cardButton.checked and situation.card:
            page = card_html(situation.card, situation.installed)
            if page != self._ui.cardBrowser.property("page"):  # setting it again would scroll to the top
                self._ui.cardBrowser.html = page
                self._ui.cardBrowser.setProperty("page", page)

    def install(self, then: Callable[[], None] | None = None, source: Path | None = None) -> None:
        """Download the chosen model, or install it from ``source``, and call ``then`` when it is installed."""
        card = self._panel.situation().card

        def begun() -> Any:
            return self._panel.logic.install(card.id, source=source, wait=False)

        def installed(_result: object) -> None:
            self._panel.show_message(_("{title} is on this computer now.").format(title=card.title))
            if then is not None:
                qt.QTimer.singleShot(0, then)

        def failed(error: GliomaSegError) -> None:
            """Show a failed download without its address, which is logged: clinics are often offline."""
            if source is not None or type(error).__name__ == "Cancelled":
                self._panel.show_error(error)
                return
            logging.warning("GliomaSeg: %s", error)
            text = _(
                "{title} could not be downloaded; this computer may be offline. The arrow beside Download installs it "
                "from a folder or a file."
            )
            self._panel.show_message(text.format(title=card.title), "error")

        self._panel.begin(Work.INSTALL, begun, installed, failed)

    def _choices_for(self, situation: Situation) -> tuple[ModelChoice, ...]:
        task = self._panel.parameters.task
        return model_choices(self._cards.values(), Store(self._panel.options.store), situation, task)

    def _list(self, choices: tuple[ModelChoice, ...]) -> None:
        if choices == self._choices:
            return
        self._choices = choices
        box = self._ui.modelComboBox
        box.clear()
        for position, choice in enumerate(choices):
            box.addItem(choice.text if choice.fits else _("Not suited: {model}").format(model=choice.text))
            box.setItemData(position, choice.id)
            box.setItemData(position, choice.tooltip, qt.Qt.ToolTipRole)

    def _on_chosen(self, index: int) -> None:
        self._panel.parameters.model = self._ui.modelComboBox.itemData(index)

    def _on_task(self, index: int) -> None:
        parameters = self._panel.parameters
        parameters.task = task = self._ui.taskComboBox.itemData(index)
        chosen = self._cards.get(parameters.model)
        if chosen is not None and task not in ("", chosen.task):
            parameters.model = ""

    def _on_card(self, shown: bool) -> None:
        self._ui.cardBrowser.visible = shown
        self._panel.refresh()

    def _on_download(self) -> None:
        with self._panel.errors_shown():
            self._panel.ensure_packages()
            self.install()

    def _on_install_from(self, title: str, ask: Callable[..., str]) -> None:
        """Install without a network: from the published files, or an export of ``gliomaseg models export``."""
        with self._panel.errors_shown():
            self._panel.ensure_packages()
            path = ask(self._ui.downloadButton, title)
            if path:
                self.install(source=Path(path))

    def _on_remove(self) -> None:
        card = self._panel.situation().card
        store = Store(self._panel.options.store)
        question = _("Delete {title} ({size}) from {folder}?").format(
            title=card.title, size=download_size(card.weights.size_bytes), folder=store.folder(card)
        )
        if slicer.util.confirmYesNoDisplay(question, windowTitle=_("Remove a model")):
            with self._panel.errors_shown():
                store.remove(card, weights_only=True)
            self._panel.refresh()
