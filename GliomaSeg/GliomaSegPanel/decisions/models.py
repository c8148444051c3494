"""The list of models, ranked for the images and the task, and whether a model may be downloaded or removed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from GliomaSegLib.case import TimePointKind
from GliomaSegLib.labels import Region
from GliomaSegLib.zoo.card import Card, Status
from GliomaSegLib.zoo.recommend import Recommendation, recommend, task_at
from GliomaSegLib.zoo.store import Store
from GliomaSegPanel.decisions.situation import Answer, Situation, chosen_sequences, lacks_preoperative, packages_first
from GliomaSegPanel.decisions.titles import TASKS, TIMES, download_size, short_title
from GliomaSegPanel.translation import _


class ModelChoice(NamedTuple):
    """One line of the list of models.

    Attributes:
        fits: whether the images and the time point of the study suit it.
        ready: whether it is installed and sufficiently verified to be chosen automatically.
        trusted: as ``ready``, but possibly not installed.
    """

    id: str
    text: str
    tooltip: str
    fits: bool
    ready: bool
    trusted: bool


def model_choices(cards: Iterable[Card], store: Store, situation: Situation, task: str = "") -> tuple[ModelChoice, ...]:
    """The models for ``task`` (all when empty), ranked as :func:`GliomaSegLib.zoo.recommend.recommend` does it: those
    for gliomas at the time of the study first (after surgery, of residual tumour), those of the cavity alone last."""
    known = () if situation.from_folder else chosen_sequences(situation)
    ranking = recommend(cards, store, known, task, situation.study_time, earlier=True)
    # Sort again by ``fits``: the ranking does not consider a missing pre-operative study.
    choices = [(_model_choice(one, situation), _serves(one.card, situation)) for one in ranking]
    return tuple(choice for choice, serves in sorted(choices, key=lambda pair: (not pair[0].fits, -pair[1])))


def _serves(card: Card, situation: Situation) -> int:
    if card.regions == (Region.RC,):
        return 0
    return 2 if card.task is task_at(situation.study_time) else 1


def _model_choice(ranked: Recommendation, situation: Situation) -> ModelChoice:
    card = ranked.card
    text = short_title(card.title)
    if card.status is Status.UNPROVEN:
        text += _(", not tested yet")
    if card.status is Status.DEMONSTRATION:
        text += _(", a demonstration")
    if not ranked.installed:
        text += (
            _(" (its members are not installed)")
            if card.weights.members
            else _(" (download: {size})").format(size=download_size(card.weights.size_bytes))
        )
    unsuited = _why_unsuited(ranked, situation)
    tooltip = unsuited or f"{card.title}\n{card.summary}\n{ranked.why}"
    return ModelChoice(card.id, text, tooltip, not unsuited, ranked.chosen_by_itself and not unsuited, ranked.trusted)


def first_choice(choices: Sequence[ModelChoice]) -> tuple[str, str]:
    """The id of the model for a user who has not chosen one: the best that is installed, so that the first run
    downloads nothing; else the best. And that of a better one to offer, which may be empty."""
    best = next((choice for choice in choices if choice.fits and choice.trusted), None)
    ready = next((choice for choice in choices if choice.ready), None)
    if ready is None or best is None:
        return (choices[0].id if choices else ""), ""
    return ready.id, best.id if best is not ready else ""


def _why_unsuited(ranked: Recommendation, situation: Situation) -> str:
    """The ranking's reason; translated where it is about time, and with what only the panel knows."""
    card = ranked.card
    return wrong_time(card, situation) or lacks_preoperative(card, situation) or ranked.unsuited


def wrong_time(card: Card, situation: Situation) -> str:
    """A sentence if the model is made for another time point than that of the study, else empty."""
    if situation.study_time is TimePointKind.UNKNOWN or situation.study_time in card.time_points:
        return ""
    meant = _(" or ").join(TIMES[kind] for kind in card.time_points)
    return _("This model is made for studies {meant}; this one was made {time}.").format(
        meant=meant, time=TIMES[situation.study_time]
    )


def ask_before_use(situation: Situation) -> str:
    """A question to ask once before a model is used that is not made for such a study; else empty."""
    reason = wrong_time(situation.card, situation) if situation.card is not None else ""
    return _("{reason} Its result may be wrong. Use it all the same?").format(reason=reason) if reason else ""


def task_titles(cards: Iterable[Card]) -> dict[str, str]:
    """The tasks of the available models, with their names."""
    return {card.task.value: TASKS.get(card.task, card.task.value) for card in cards}


def can_download(situation: Situation) -> Answer:
    """Whether the chosen model's weights may be downloaded now."""
    if situation.card is None:
        return Answer(False, _("Choose a model first."))
    if situation.installed:
        return Answer(False, _("The model is on this computer already."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    if first := packages_first(situation):
        return first
    text = _("Download it ({size}), check it and keep it on this computer. The arrow: install it without a network.")
    return Answer(True, text.format(size=download_size(situation.card.weights.size_bytes)))


def can_remove_model(situation: Situation) -> Answer:
    """Whether the chosen model's weights may be deleted from this computer."""
    if situation.card is None or not situation.installed:
        return Answer(False, _("The model is not on this computer."))
    if situation.card.weights.shipped:
        return Answer(False, _("The model comes with GliomaSeg, and goes with it."))
    if not situation.removable:
        return Answer(False, _("The model is provided by your site, and is not yours to delete."))
    if situation.work:
        return Answer(False, _("Wait until the running work has ended."))
    return Answer(True, _("Delete the model's files from this computer; they can be downloaded again."))
