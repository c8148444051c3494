"""Ranks models for a case by status and accuracy, with reasons; :func:`choose_model` is the automatic choice.

Standard library only: the panel uses the same ranking as the command line, batches and runs with the model ``auto``.

Models that can take the case come first, ordered by their status (see ``_STATUSES``). Of the same status, those that
were measured with exactly the available sequences come first, ordered by their mean Dice over all regions that any of
them gives; a region that a model does not give counts as 0. Figures from different cases say little about which model
is better, so where several models were measured on the same cases, those figures are compared. Where the purpose is to
decide whether tumour is left after surgery (:mod:`GliomaSegLib.zoo.purpose`), the balanced accuracy of that decision
counts before any Dice. Where nothing was measured, the published figure for the inputs that the model would get is
used. Models that cannot take the case come last, with what is missing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from GliomaSegLib.case import Modality, TimePointKind
from GliomaSegLib.errors import InputError
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Purpose, Task
from GliomaSegLib.zoo.card import Accuracy, Card, Status
from GliomaSegLib.zoo.catalogue import tumour_models
from GliomaSegLib.zoo.purpose import figure_for, for_purpose
from GliomaSegLib.zoo.store import Store

# The best proven status first.
_STATUSES = {
    Status.VERIFIED: "it ran on real images with its real weights",
    Status.PARITY: "it equals its own package on generated weights, and was not run on real images here",
    Status.UNPROVEN: "it is unproven, so it runs only when it is named",
    Status.DEMONSTRATION: "it is a demonstration, trained on too little to be of use, so it runs only when it is named",
}
_UNLICENSED = "its publisher states no licence, so it runs only when it is named"

# A model that may have its channels or labels mixed up runs only when the user names it.
_TRUSTED = (Status.VERIFIED, Status.PARITY)

# Neither does one whose publisher states no licence: users must find out for themselves whether they may use it.
_NO_LICENCE = "none stated"


@dataclass(frozen=True)
class Recommendation:
    """A model in the ranking for a case.

    Attributes:
        regions: those that it gives for the case; empty when it cannot be used.
        figure: its measured accuracy with exactly the available sequences, if there is one.
        published: the published accuracy for the inputs that it would get, else the first on the card.
        unsuited: a sentence on why it cannot be used, which names what is missing; empty when it can.
        purpose: what the result is for.
    """

    card: Card
    installed: bool
    regions: tuple[Region, ...] = ()
    figure: Accuracy | None = None
    published: Accuracy | None = None
    unsuited: str = ""
    purpose: Purpose = Purpose.VOLUME

    @property
    def chosen_by_itself(self) -> bool:
        """Whether a run may use it without the user naming it."""
        return self.installed and not self.unsuited and self.trusted

    @property
    def trusted(self) -> bool:
        """Whether its status and its licence allow that it is used without being named."""
        return self.card.status in _TRUSTED and self.card.weights.licence != _NO_LICENCE

    @property
    def residual_figure(self) -> Accuracy | None:
        """With that purpose, the figure with its balanced accuracy of residual tumour against none."""
        if self.purpose is not Purpose.RESIDUAL:
            return None
        known = (one for one in (self.figure, self.published) if one is not None)
        return next((one for one in known if one.balanced_accuracy is not None), None)

    @property
    def why(self) -> str:
        """Accuracy, status, installation and licence in a sentence, or why it cannot be used."""
        if self.unsuited:
            return self.unsuited
        where = f"it is {'' if self.installed else 'not '}installed"
        licence = f"licence of the weights: {self.card.weights.licence}"
        if self.card.weights.licence == _NO_LICENCE:
            licence = _UNLICENSED
        parts = (self._residual(), self._accuracy(), self._gives(), _STATUSES[self.card.status], where, licence)
        text = "; ".join(part for part in parts if part)
        return f"{text[0].upper()}{text[1:]}."

    def as_record(self) -> dict[str, object]:
        """As plain values, for other programs."""
        return {
            "id": self.card.id,
            "task": self.card.task.value,
            "status": self.card.status.value,
            "installed": self.installed,
            "weights_licence": self.card.weights.licence,
            "regions": [region.value for region in self.regions],
            "dice": {region.value: value for region, value in self.figure.dice.items()} if self.figure else {},
            "measured_on": _cases(self.figure) if self.figure else None,
            "balanced_accuracy": self.residual_figure.balanced_accuracy if self.residual_figure else None,
            "unsuited": self.unsuited or None,
            "why": self.why,
        }

    def _residual(self) -> str:
        if self.purpose is not Purpose.RESIDUAL:
            return ""
        if self.residual_figure is None:
            return "how well it tells whether anything is left is not known"
        figure = self.residual_figure
        how = "measured" if figure is self.figure else "published"
        return (
            f"it tells residual tumour from none with a balanced accuracy of {figure.balanced_accuracy:.2f} ({how}, "
            f"{_cases(figure)})"
        )

    def _accuracy(self) -> str:
        if self.figure:
            return f"mean Dice {_dice(self.figure)}, measured with just these sequences on {_cases(self.figure)}"
        known = f", published is {_dice(self.published)} on {_cases(self.published)}" if self.published else ""
        given = ", ".join(region.value for region in self.regions)
        return f"it gives {given}; its accuracy with just these sequences was not measured{known}"

    def _gives(self) -> str:
        withheld = [region.value for region in self.card.regions if region not in self.regions]
        return f"without all its sequences it cannot give {' and '.join(withheld)}" if withheld else ""


def recommend(
    cards: Iterable[Card],
    store: Store,
    present: Collection[Modality] = (),
    task: str = "",
    time_point: TimePointKind = TimePointKind.UNKNOWN,
    earlier: bool = False,
    purpose: Purpose = Purpose.VOLUME,
) -> tuple[Recommendation, ...]:
    """The models for a task, the best first, whether their weights are installed or not.

    Args:
        cards: the zoo, see :func:`~GliomaSegLib.zoo.catalogue.tumour_models`.
        store: where weights are looked for.
        present: the sequences of the case; empty while they are not known: then all are assumed.
        task: as on the cards; empty for all.
        time_point: of the study.
        earlier: whether the study before surgery is there too.
        purpose: what the result is for: it decides among the models, and within one among its sets of sequences.
    """
    served = [for_purpose(card, purpose) for card in cards if task in ("", card.task)]
    found = [_examined(card, store, tuple(present), time_point, earlier) for card in served]
    shared = _shared_cases([one for one in found if not one.unsuited], present)
    found = [
        replace(
            one,
            figure=_figure(one.card, present, shared),
            published=_published(one.card, present, purpose),
            purpose=purpose,
        )
        for one in found
    ]
    wanted = {region for one in found for region in one.regions}
    return tuple(sorted(found, key=lambda one: _place(one, wanted)))


def task_at(time_point: TimePointKind) -> Task:
    """The task of a study for which none is named: glioma, after surgery or else before it."""
    return Task.POSTOPERATIVE_GLIOMA if time_point is TimePointKind.POSTOPERATIVE else Task.PREOPERATIVE_GLIOMA


@dataclass(frozen=True)
class Choice:
    """The model that a run uses where the user names none, and a sentence on why."""

    card: Card
    why: str


def choose_model(
    store: Store,
    present: Collection[Modality],
    task: Task | None = None,
    time_point: TimePointKind = TimePointKind.UNKNOWN,
    earlier: bool = False,
    purpose: Purpose = Purpose.VOLUME,
) -> Choice:
    """The best installed and proven model for a case, and the better one that is not installed, if any.

    Args:
        store: where weights are looked for; the cards that were added to it belong to the zoo.
        present: the sequences of the case.
        task: by default glioma, by the time point.
        time_point, earlier, purpose: see :func:`recommend`.

    Raises:
        InputError: there is none; the sentence names the model to install, or what the case lacks.
    """
    wanted = task or task_at(time_point)
    ranking = recommend(tumour_models(store.root), store, present, wanted, time_point, earlier, purpose)
    chosen = best_installed(ranking, present, wanted)
    return Choice(chosen.card, why_chosen(chosen, ranking))


def best_installed(ranking: Collection[Recommendation], present: Collection[Modality], task: str) -> Recommendation:
    """The first of a ranking that may run without being named by the user.

    Raises:
        InputError: there is none; the sentence names the model to install, or what the case lacks.
    """
    chosen = next((one for one in ranking if one.chosen_by_itself), None)
    if chosen:
        return chosen
    titles = ", ".join(sequence.title for sequence in Modality if sequence in present)
    sentence = f"No model that is installed and proven takes {titles} for the task {task}"
    suited = [one for one in ranking if not one.unsuited]
    if trusted := [one.card.id for one in suited if one.trusted]:
        raise InputError(f"{sentence}; '{trusted[0]}' does: run 'gliomaseg models install {trusted[0]}'.")
    if suited:
        card = suited[0].card
        but = _UNLICENSED if card.weights.licence == _NO_LICENCE else _STATUSES[card.status]
        raise InputError(f"{sentence}; '{card.id}' does, but {but} (--model).")
    reason = f": {next(iter(ranking)).unsuited}" if ranking else "; the zoo has none for this task."
    raise InputError(f"{sentence}{reason}")


def why_chosen(chosen: Recommendation, ranking: Iterable[Recommendation]) -> str:
    """The sentence on the automatic choice; with the model that would be better if it were installed."""
    text = f"{chosen.card.id} was chosen: {_lowered(chosen.why)}"
    better = next((one for one in ranking if one.trusted), chosen)
    if better is chosen:
        return text
    return f"{text} Not installed is {better.card.id}: {_lowered(better.why)}"


def _lowered(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


# --- figures and order -----------------------------------------------------------------------------------------


def _examined(
    card: Card, store: Store, present: tuple[Modality, ...], time_point: TimePointKind, earlier: bool
) -> Recommendation:
    installed = store.is_installed(card)
    if wrong := card.wrong_time(time_point):
        return Recommendation(card, installed, unsuited=wrong)
    try:
        return Recommendation(card, installed, card.regions_given(present or card.inputs.sequences, earlier))
    except InputError as error:
        return Recommendation(card, installed, unsuited=str(error))


def _figures(card: Card, present: Collection[Modality]) -> tuple[Accuracy, ...]:
    return card.figures_with(present or card.inputs.sequences)


def _shared_cases(suited: Iterable[Recommendation], present: Collection[Modality]) -> str:
    """The cases on which most models were measured with these sequences; empty where no two models share cases."""
    counted = Counter(figure.data for one in suited for figure in _figures(one.card, present))
    (data, models) = counted.most_common(1)[0] if counted else ("", 0)
    return data if models > 1 else ""


def _figure(card: Card, present: Collection[Modality], shared: str) -> Accuracy | None:
    figures = _figures(card, present)
    return next((figure for figure in figures if figure.data == shared), figures[0] if figures else None)


def _published(card: Card, present: Collection[Modality], purpose: Purpose) -> Accuracy | None:
    given = card.sequences_used(present or card.inputs.sequences)
    return figure_for(card, given, purpose) or next(iter(card.published), None)


def _place(one: Recommendation, wanted: Collection[Region]) -> tuple[object, ...]:
    """The sort key of the ranking; smaller is better."""
    residual = one.residual_figure
    return (
        bool(one.unsuited),
        list(_STATUSES).index(one.card.status),
        -(residual.balanced_accuracy or 0.0) if residual else 0.0,
        one.figure is None,
        -_mean_dice(one.figure, wanted),
        -len(one.regions),
        -_mean_dice(one.published, wanted),
        not one.installed,
        one.card.id,
    )


def _mean_dice(figure: Accuracy | None, wanted: Collection[Region]) -> float:
    return sum(figure.dice.get(region, 0.0) for region in wanted) / len(wanted) if figure and wanted else 0.0


def _dice(figure: Accuracy) -> str:
    return ", ".join(f"{region.value} {value:.2f}" for region, value in figure.dice.items())


def _cases(figure: Accuracy) -> str:
    return f"{figure.cases} cases of {figure.data}" if figure.cases else figure.data
