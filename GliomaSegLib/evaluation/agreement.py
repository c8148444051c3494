"""Inter-rater agreement: several segmentations of one case, their consensus, and the effect of assistance.

Two designs are provided. Helland 2023 compares every reader with the majority of all (Jaccard). Shirokikh 2019
compares one reader with the consensus of the others ("1 vs 3"), which gives a value per reader and case in three
designs: by hand, assisted against the others by hand, and assisted against the others assisted.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from enum import Enum

import numpy as np
from scipy import stats

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.metrics import TOLERANCE_MM, score
from GliomaSegLib.evaluation.statistics import Difference, Spread, paired, spread
from GliomaSegLib.evaluation.surface import surface_distances
from GliomaSegLib.inference.consensus import consensus, staple
from GliomaSegLib.label_maps import dice
from GliomaSegLib.options import Consensus
from GliomaSegLib.postprocessing import Mask, Spacing
from GliomaSegLib.record import Record


class Agreement(Record):
    """Agreement of two segmentations of one region. ``None``: not defined, because one or both are empty.

    Attributes:
        dice, jaccard: 1 when both are empty.
        surface_dice: normalised surface Dice (NSD), the share of both surfaces within the tolerance of the other one.
        difference_ml: second minus first.
        relative_difference: difference divided by the mean of both volumes.
    """

    first: str
    second: str
    dice: float
    jaccard: float
    surface_dice: float | None
    hd95_mm: float | None
    first_ml: float
    second_ml: float
    difference_ml: float
    relative_difference: float | None


class Reader(Record):
    """Sensitivity and specificity of one reader as estimated by STAPLE."""

    name: str
    sensitivity: float
    specificity: float


class SignTest(Record):
    """Sign test: in how many pairs the second value is greater or smaller; equal pairs are left out."""

    greater: int
    smaller: int
    p: float


class Design(str, Enum):
    """Which contour is compared with which consensus of the other readers, after Shirokikh 2019."""

    MANUAL = "by hand, against the others by hand"
    ASSISTED = "assisted, against the others by hand"
    ALL_ASSISTED = "assisted, against the others assisted"


class DesignResult(Record):
    """One design over all readers and cases, compared with the work by hand.

    Attributes:
        dice: per reader and case, in the order of ``pairs``.
        pairs: case and reader.
        sign, wilcoxon: against :attr:`Design.MANUAL`; ``None`` for that itself.
    """

    design: Design
    pairs: tuple[tuple[str, str], ...]
    dice: tuple[float, ...]
    spread: Spread
    sign: SignTest | None
    wilcoxon: Difference | None


def agree(
    first: Mask, second: Mask, spacing_mm: Spacing, names: tuple[str, str], tolerance_mm: float = TOLERANCE_MM
) -> Agreement:
    """Compare two masks ``[z, y, x]``; ``spacing_mm`` in the same order.

    Raises:
        InputError: the shapes differ.
    """
    if first.shape != second.shape:
        raise InputError(f"{names[0]} and {names[1]} have different sizes; resample one to the other first.")
    scores, surfaces = score(second, first, spacing_mm), surface_distances(first, second, spacing_mm)
    mean_ml = (scores.reference_ml + scores.prediction_ml) / 2
    difference = scores.prediction_ml - scores.reference_ml
    return Agreement(
        first=names[0],
        second=names[1],
        dice=scores.dice,
        jaccard=scores.dice / (2 - scores.dice),
        surface_dice=surfaces.nsd(tolerance_mm) if surfaces else None,
        hd95_mm=scores.hd95_mm,
        first_ml=scores.reference_ml,
        second_ml=scores.prediction_ml,
        difference_ml=difference,
        relative_difference=difference / mean_ml if mean_ml else None,
    )


def every_pair(masks: Mapping[str, Mask], spacing_mm: Spacing, tolerance_mm: float = TOLERANCE_MM) -> list[Agreement]:
    """Agreement of every pair of readers."""
    return [
        agree(masks[one], masks[other], spacing_mm, (one, other), tolerance_mm)
        for one, other in itertools.combinations(masks, 2)
    ]


def against_consensus(
    masks: Mapping[str, Mask],
    spacing_mm: Spacing,
    how: Consensus = Consensus.MAJORITY,
    tolerance_mm: float = TOLERANCE_MM,
) -> list[Agreement]:
    """Agreement of every reader with the consensus of all (Helland 2023); biased, as each is part of it."""
    together = consensus(list(masks.values()), how)
    return [agree(together, mask, spacing_mm, (how.value, name), tolerance_mm) for name, mask in masks.items()]


def staple_readers(masks: Mapping[str, Mask]) -> list[Reader]:
    """Sensitivity and specificity of every reader as STAPLE estimates them, inside the box of all they have drawn."""
    found = staple(list(masks.values()))
    rates = zip(masks, found.sensitivity, found.specificity, strict=True)
    return [
        Reader(name=name, sensitivity=sensitivity, specificity=specificity) for name, sensitivity, specificity in rates
    ]


def one_against_others(masks: Mapping[str, Mask], others: Mapping[str, Mask] | None = None) -> dict[str, float]:
    """Dice of each reader against the majority of the other ones, "1 vs 3" with four readers.

    Args:
        others: where the other readers' contours are taken from, by default from ``masks``.

    Raises:
        InputError: there are fewer than three readers, or not the same ones in both.
    """
    others = masks if others is None else others
    if len(masks) < 3 or masks.keys() != others.keys():
        raise InputError("One reader can be compared with the others when there are at least three, the same by hand.")
    found = {}
    for name, mask in masks.items():
        rest = consensus([other for reader, other in others.items() if reader != name])
        found[name] = dice(mask, rest)
    return found


def assistance(
    manual: Mapping[str, Mapping[str, Mask]], assisted: Mapping[str, Mapping[str, Mask]]
) -> list[DesignResult]:
    """The three designs over all cases: ``manual[case][reader]`` and ``assisted[case][reader]``.

    Raises:
        InputError: the cases or the readers of both are not the same, or there are fewer than three readers.
    """
    if not manual or manual.keys() != assisted.keys():
        raise InputError("The cases that were drawn by hand and with assistance are not the same; give both of each.")
    dice: dict[Design, dict[tuple[str, str], float]] = {design: {} for design in Design}
    for case, by_hand in manual.items():
        by_assistance = assisted[case]
        for design, masks, others in (
            (Design.MANUAL, by_hand, by_hand),
            (Design.ASSISTED, by_assistance, by_hand),
            (Design.ALL_ASSISTED, by_assistance, by_assistance),
        ):
            found = one_against_others(masks, others)
            dice[design] |= {(case, name): found[name] for name in by_hand}  # pairs: readers in one order in all
    reference = list(dice[Design.MANUAL].values())
    return [
        DesignResult(
            design=design,
            pairs=tuple(found),
            dice=tuple(found.values()),
            spread=spread(list(found.values())),
            sign=None if design is Design.MANUAL else sign_test(reference, list(found.values())),
            wilcoxon=None if design is Design.MANUAL else paired(reference, list(found.values())),
        )
        for design, found in dice.items()
    ]


def sign_test(first: Sequence[float], second: Sequence[float]) -> SignTest:
    """The two-sided sign test of pairs, which Shirokikh 2019 used; 1 when nothing differs.

    Raises:
        InputError: the two differ in length.
    """
    if len(first) != len(second):
        raise InputError(f"{len(first)} and {len(second)} measurements are no pairs; give as many of both.")
    difference = np.subtract(second, first)
    greater, smaller = int((difference > 0).sum()), int((difference < 0).sum())
    p = float(stats.binomtest(greater, greater + smaller).pvalue) if greater + smaller else 1.0
    return SignTest(greater=greater, smaller=smaller, p=p)
