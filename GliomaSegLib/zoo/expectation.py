"""Expected accuracy of a model with the modalities of a case, in sentences for clinicians.

Standard library only; panel, report, batch and command line use the same sentences. They depend on mean Dice and the
fraction of missed tumours, on the cases of the card's ``measured`` figures with exactly these modalities.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Region
from GliomaSegLib.zoo.card import Accuracy, Card, listed_titles

GOOD_DICE = 0.8
"""Mean Dice from which a region is called good: about what two readers reach on gliomas (Menze 2015)."""

LEAST_DICE = 0.7
"""Mean Dice below which a region is called unreliable (Zijdenbos 1994 takes .7 as the limit of good agreement)."""

LARGEST_MISSED = 0.1
"""A region that is missed altogether in a larger share of the cases is unreliable, whatever its mean Dice."""

UNRELIABLE = "unreliable"


@dataclass(frozen=True)
class Expectation:
    """Measured accuracy of one region with the modalities of a case.

    Attributes:
        dice: mean over all cases of all figures.
        cases: number of these cases.
        missed: number of cases in which less than a tenth of the region was found; ``None`` if not counted.
        volume_error: limits of the relative volume error in nine of ten cases (-0.5: half is missing), the widest of
            several data sets; ``None`` if not measured.
    """

    region: Region
    dice: float
    cases: int
    missed: int | None
    volume_error: tuple[float, float] | None

    @property
    def word(self) -> str:
        """``good``, ``fair`` or ``unreliable``."""
        if self.dice < LEAST_DICE or (self.missed or 0) > LARGEST_MISSED * self.cases:
            return UNRELIABLE
        return "good" if self.dice >= GOOD_DICE else "fair"

    def __str__(self) -> str:
        facts = [f"mean Dice {self.dice:.2f} in {self.cases} case{'s' * (self.cases > 1)}"]
        if self.missed is not None:
            facts.append(f"missed in {self.missed or 'none'}")
        if self.volume_error is not None:
            lower, upper = self.volume_error
            facts.append(f"volume {100 * lower:+.0f} to {100 * upper:+.0f} % in nine of ten")
        return f"{self.region.words} {self.word} ({', '.join(facts)})"


def accuracy_in_words(card: Card, present: Collection[Modality], earlier: bool = False) -> str | None:
    """A sentence on each region that the model gives with just these sequences; ``None`` when nothing was measured.

    Raises:
        InputError: as :meth:`Card.regions_given`.
    """
    known = expectations(card.figures_with(present), card.regions_given(present, earlier))
    if not known:
        return None
    return f"Measured with {listed_titles(card.sequences_used(present))}: {'; '.join(map(str, known))}."


def unreliable_regions(card: Card, present: Collection[Modality], earlier: bool = False) -> tuple[Region, ...]:
    """The regions that the model gives with just these sequences and whose measured accuracy is too low to rely on.

    Raises:
        InputError: as :meth:`Card.regions_given`.
    """
    known = expectations(card.figures_with(present), card.regions_given(present, earlier))
    return tuple(one.region for one in known if one.word == UNRELIABLE)


def cost_of_missing(card: Card, present: Collection[Modality], earlier: bool = False) -> str | None:
    """A paragraph on missing modalities and the loss of accuracy; ``None`` if none is missing.

    Raises:
        InputError: as :meth:`Card.regions_given`.
    """
    missing = card.missing(present)
    if not missing:
        return None
    given, used = card.regions_given(present, earlier), card.sequences_used(present)
    them = "it" if len(missing) == 1 else "them"
    sentences = [f"Missing: {listed_titles(missing)}."]
    if unused := [one.title for one in card.inputs.sequences if one in present and one not in used]:
        sentences.append(f"{' and '.join(unused)} cannot be used without {them}.")
    if withheld := [region.value for region in card.regions if region not in given]:
        sentences.append(f"Without {them} {' and '.join(withheld)} cannot be given.")
    if doubtful := unreliable_regions(card, present, earlier):
        sentences.append(f"Unreliable without {them}: {', '.join(region.words for region in doubtful)}.")
    sentences.append(_change(card, present, given))
    return " ".join(sentences)


def _change(card: Card, present: Collection[Modality], given: Collection[Region]) -> str:
    """Mean Dice on the same cases with all modalities and with only these."""
    for now in card.figures_with(present):
        for full in card.figures_with(card.inputs.sequences):
            both = [region for region in given if region in full.dice and region in now.dice]
            if full.data == now.data and both:
                changes = ", ".join(f"{one.value} {full.dice[one]:.2f} → {now.dice[one]:.2f}" for one in both)
                return f"Mean Dice, all sequences → these alone, on {now.cases} cases ({now.data}): {changes}."
    return "What that costs in accuracy has not been measured for this model."


def expectations(figures: Collection[Accuracy], regions: Sequence[Region]) -> tuple[Expectation, ...]:
    """What to expect of each of the ``regions`` that a figure with a number of cases has."""
    known = [figure for figure in figures if figure.cases]
    return tuple(_pooled(region, own) for region in regions if (own := [one for one in known if region in one.dice]))


def _pooled(region: Region, figures: Sequence[Accuracy]) -> Expectation:
    details = [figure.regions.get(region) for figure in figures]
    cases = [one.cases if one else figure.cases or 0 for one, figure in zip(details, figures, strict=True)]
    dice = sum(figure.dice[region] * count for figure, count in zip(figures, cases, strict=True)) / sum(cases)
    known = [one for one in details if one]
    if len(known) < len(details):
        return Expectation(region, dice, sum(cases), None, None)
    lower, upper = zip(*(one.volume_error for one in known), strict=True)
    return Expectation(region, dice, sum(cases), sum(one.missed for one in known), (min(lower), max(upper)))
