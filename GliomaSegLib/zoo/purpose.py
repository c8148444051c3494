"""Selects among a card's sets of inputs by the purpose of a post-operative result: more inputs are not always better.

Helland 2023 (Sci Rep 13:18897) trained the same networks on five configurations: T1 + contrast (A), with T1 (B), with
T1 and FLAIR (C), and B and C with T1 + contrast and tumour of before surgery (D, E). Which one does best depends on
what is asked, so a card gives the figures of each and the purpose decides among those whose inputs are at hand, within
one card here and among several in :mod:`GliomaSegLib.zoo.recommend`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from statistics import fmean

from GliomaSegLib.case import Modality
from GliomaSegLib.options import Purpose
from GliomaSegLib.zoo.card import Accuracy, Card


def for_purpose(card: Card, purpose: Purpose) -> Card:
    """The card with its sets of sequences in the order in which they serve ``purpose``, by its published figures.

    A set without figures keeps its place behind those that have them; a card without any stays as it is.
    """

    def score_with(sequences: tuple[Modality, ...]) -> float:
        figure = figure_for(card, sequences, purpose)
        found = score(figure, purpose) if figure else None
        return -1.0 if found is None else found

    sets = tuple(sorted(card.inputs.sets, key=lambda one: -score_with(one)))
    return dataclasses.replace(card, inputs=dataclasses.replace(card.inputs, sets=sets))


def figure_for(card: Card, sequences: Collection[Modality], purpose: Purpose) -> Accuracy | None:
    """The published figure of the network for just these sequences, of the most cases, that concerns ``purpose``."""
    found = [
        figure
        for figure in card.published
        if set(figure.sequences) == set(sequences)
        and set(figure.preoperative) == set(card.inputs.preoperative)
        and score(figure, purpose) is not None
    ]
    return max(found, key=lambda figure: figure.cases or 0, default=None)


def score(figure: Accuracy, purpose: Purpose) -> float | None:
    """What counts for ``purpose``: mean Dice, or the balanced accuracy of residual against gross total resection."""
    if purpose is Purpose.RESIDUAL:
        return figure.balanced_accuracy
    return fmean(figure.dice.values()) if figure.dice else None


def reason(card: Card, present: Collection[Modality], purpose: Purpose) -> str | None:
    """A sentence on the sequences that are there and that the model leaves aside although it can take them; ``None``
    when there are none.

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
