"""The state of the review in words, and whether it may be changed."""

from __future__ import annotations

from GliomaSegLib.options import ReviewState
from GliomaSegPanel.decisions.situation import Answer, Situation, refuse_without_files
from GliomaSegPanel.translation import _

REVIEW_TITLES = {
    ReviewState.DRAFT: _("Draft: nobody has reviewed it"),
    ReviewState.EDITED: _("Edited: not approved"),
    ReviewState.APPROVED: _("Approved"),
    ReviewState.REJECTED: _("Rejected"),
}


def review_text(state: str, by: str = "", when: str = "") -> str:
    """The state of the review in words."""
    text = REVIEW_TITLES.get(state, state)
    if by:
        text += _(" by {name}").format(name=by)
    return text + (_(", {when}").format(when=when) if when else "")


def can_review(situation: Situation, state: str) -> Answer:
    """Whether the review may be set to ``state`` (approved, rejected or draft)."""
    if refused := refuse_without_files(situation):
        return refused
    shown = situation.shown
    if shown.review == state:
        return Answer(False, _("That is its state already."))
    if state == "draft":
        return Answer(True, _("Take the decision back."))
    if not situation.reviewer.strip():
        return Answer(False, _("Enter your name first."))
    if state == "approved" and shown.edited:
        return Answer(False, _("Update the measures first, so that what you approve is what was measured."))
    if state == "approved":
        return Answer(True, _("You have looked at every contour and find it right. A later edit voids this."))
    return Answer(True, _("It is not to be used."))
