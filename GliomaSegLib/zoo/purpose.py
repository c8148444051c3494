"""Which set of inputs a model of the time after surgery is given: richer is not better.

Helland 2023 (Sci Rep 13:18897) trained the same networks on five configurations: T1 + contrast (A), with T1 (B), with
T1 and FLAIR (C), and B and C with T1 + contrast and tumour of before surgery (D, E). Which one does best depends on
what is asked, so a card says the figures of each and the purpose decides among those whose inputs are at hand, within
one card here and among several in :mod:`GliomaSegLib.zoo.recommend`.

On plain values, as :mod:`GliomaSegLib.zoo.input_requirements`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from statistics import fmean
from typing import TYPE_CHECKING, Protocol, TypeVar

from GliomaSegLib.case import Modality, Preoperative
from GliomaSegLib.labels import Region
from GliomaSegLib.options import Purpose

if TYPE_CHECKING:  # it needs pydantic, which a panel may not have
    from GliomaSegLib.zoo.card import Accuracy, Card
    from GliomaSegLib.zoo.catalogue import Entry


class Figure(Protocol):
    """An accuracy, see :class:`GliomaSegLib.zoo.card.Accuracy`."""

    @property
    def cases(self) -> int | None: ...

    @property
    def sequences(self) -> tuple[Modality, ...]: ...

    @property
    def preoperative(self) -> tuple[Preoperative, ...]: ...

    @property
    def dice(self) -> Mapping[Region, float]: ...

    @property
    def balanced_accuracy(self) -> float | None: ...


AFigure = TypeVar("AFigure", bound=Figure)


def for_purpose(card: Card, purpose: Purpose) -> Card:
    """The card with its sets of sequences in the order in which they serve ``purpose``, by its published figures.

    A set without figures keeps its place behind those that have them; a card without any stays as it is.
    """
    inputs = card.inputs
    sets = _ordered(inputs.sets, card.published, inputs.preoperative, purpose)
    return card.model_copy(update={"inputs": inputs.model_copy(update={"sets": sets})})


def entry_for_purpose(entry: Entry, purpose: Purpose) -> Entry:
    """As :func:`for_purpose`."""
    needs = entry.needs
    sets = _ordered(needs.sets, entry.published, needs.preoperative, purpose)
    return replace(entry, needs=replace(needs, sets=sets))


def figure_for(card: Card, sequences: Collection[Modality], purpose: Purpose) -> Accuracy | None:
    """The published figure of the network for just these sequences, of the most cases, that tells of ``purpose``."""
    return figure_among(card.published, sequences, card.inputs.preoperative, purpose)


def figure_among(
    figures: Iterable[AFigure],
    sequences: Collection[Modality],
    preoperative: Collection[Preoperative],
    purpose: Purpose,
) -> AFigure | None:
    """The figure for just these inputs, of the most cases, that tells of ``purpose``."""
    found = [
        figure
        for figure in figures
        if set(figure.sequences) == set(sequences)
        and set(figure.preoperative) == set(preoperative)
        and score(figure, purpose) is not None
    ]
    return max(found, key=lambda figure: figure.cases or 0, default=None)


def score(figure: Figure, purpose: Purpose) -> float | None:
    """What counts for ``purpose``: mean Dice, or the balanced accuracy of residual against gross total resection."""
    if purpose is Purpose.RESIDUAL:
        return figure.balanced_accuracy
    return fmean(figure.dice.values()) if figure.dice else None


def reason(card: Card, present: Collection[Modality], purpose: Purpose) -> str | None:
    """A sentence on what the model leaves aside of what is there, though it could take it; ``None`` when nothing.

    Args:
        card: as :func:`for_purpose` gives it.
    """
    used = card.sequences_used(present)
    aside = [sequence for sequence in card.inputs.sequences if sequence in present and sequence not in used]
    figure, richer = (figure_for(card, one, purpose) for one in (used, {*used, *aside}))
    if not aside or figure is None or richer is None:
        return None
    what = "balanced accuracy" if purpose is Purpose.RESIDUAL else "mean Dice"
    return (
        f"The network without {' and '.join(sequence.title for sequence in aside)} was taken: for the purpose "
        f"'{purpose.value}' it did better ({what} {score(figure, purpose):.3f} against {score(richer, purpose):.3f}, "
        f"{figure.cases} patients, {figure.source})."
    )


def _ordered(
    sets: Iterable[tuple[Modality, ...]],
    published: Collection[Figure],
    preoperative: Collection[Preoperative],
    purpose: Purpose,
) -> tuple[tuple[Modality, ...], ...]:
    def score_with(sequences: tuple[Modality, ...]) -> float:
        figure = figure_among(published, sequences, preoperative, purpose)
        found = figure and score(figure, purpose)
        return -1.0 if found is None else found

    return tuple(sorted(sets, key=lambda one: -score_with(one)))
