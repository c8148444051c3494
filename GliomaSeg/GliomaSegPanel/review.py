"""The section Review: draft, edited, approved or rejected; by whom and when."""

from __future__ import annotations

from datetime import datetime

import slicer

from GliomaSegLib.scene.review import APPROVED, DRAFT, REJECTED, review_of
from GliomaSegPanel.decisions.review import can_review, review_text
from GliomaSegPanel.decisions.situation import Situation, Work
from GliomaSegPanel.panel import Panel
from GliomaSegPanel.translation import _

_NAME_SETTING = "GliomaSeg/Reviewer"


class ReviewSection:
    """The decision of a reader, stored in the node, the manifest and the report."""

    def __init__(self, panel: Panel) -> None:
        self._panel = panel
        self._ui = panel.ui
        self._buttons = {
            APPROVED: self._ui.approveButton,
            REJECTED: self._ui.rejectButton,
            DRAFT: self._ui.draftButton,
        }
        for state, button in self._buttons.items():
            button.connect("clicked()", lambda s=state: self._decide(s))
        self._ui.reviewerEdit.text = slicer.app.settings().value(_NAME_SETTING) or ""
        self._ui.reviewerEdit.connect("textChanged(QString)", self._on_name)

    @property
    def reviewer(self) -> str:
        """The name that is entered."""
        return self._ui.reviewerEdit.text.strip()

    def show(self, situation: Situation) -> None:
        """Update the section."""
        node = self._panel.result.node
        text = "–"
        if node is not None:
            review = review_of(node)
            when = f"{datetime.fromisoformat(review.when):%Y-%m-%d %H:%M}" if review.by else ""
            text = review_text(review.state, review.by, when)
        self._ui.reviewStateLabel.text = f"<b>{text}</b>"
        for state, button in self._buttons.items():
            self._panel.set_enabled(button, can_review(situation, state))

    def _decide(self, state: str) -> None:
        node = self._panel.result.node
        self._panel.result.commit_threshold()
        self._panel.begin(
            Work.REVIEW,
            lambda: self._panel.logic.review(node, state, self.reviewer, wait=False),
            lambda _result: self._panel.show_message(_("Kept in the scene, the manifest and the report.")),
        )

    def _on_name(self, name: str) -> None:
        slicer.app.settings().setValue(_NAME_SETTING, name.strip())
        self._panel.refresh()
