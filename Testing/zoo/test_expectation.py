"""What accuracy to expect, in words: from the figures of a card to what a clinician reads."""

from __future__ import annotations

from dataclasses import replace

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.labels import Region
from GliomaSegLib.zoo.card import Accuracy, Card, RegionAccuracy
from GliomaSegLib.zoo.catalogue import find_card
from GliomaSegLib.zoo.expectation import (
    Expectation,
    accuracy_in_words,
    cost_of_missing,
    expectations,
    unreliable_regions,
)

T1N, T1C, T2W, T2F = Modality
BOTH = (T1C, T2F)


def figure(dice: dict[Region, float], cases: int | None = 10, **more: object) -> Accuracy:
    return Accuracy(data="SET", cases=cases, sequences=BOTH, dice=dice, source="a test", **more)


@pytest.mark.parametrize(
    ("dice", "missed", "word"),
    [
        (0.80, 0, "good"),
        (0.80, None, "good"),
        (0.79, 0, "fair"),
        (0.70, 1, "fair"),  # one of ten is not more than a tenth
        (0.69, 0, "unreliable"),
        (0.95, 2, "unreliable"),
    ],
)
def test_the_word_follows_mean_dice_and_what_was_missed(dice: float, missed: int | None, word: str) -> None:
    assert Expectation(Region.WT, dice, 10, missed, None).word == word


def test_sets_of_cases_are_pooled_by_their_number_and_the_widest_limits_count() -> None:
    small = figure(
        {Region.WT: 0.8}, 2, regions={Region.WT: RegionAccuracy(cases=2, missed=0, volume_error=(-0.5, 0.1))}
    )
    large = figure(
        {Region.WT: 0.6}, 6, regions={Region.WT: RegionAccuracy(cases=6, missed=1, volume_error=(-0.2, 0.8))}
    )
    (pooled,) = expectations((small, large), (Region.WT,))
    assert pooled.dice == pytest.approx((2 * 0.8 + 6 * 0.6) / 8)
    assert (pooled.cases, pooled.missed, pooled.volume_error) == (8, 1, (-0.5, 0.8))
    assert str(pooled) == (
        "whole tumour unreliable (mean Dice 0.65 in 8 cases, missed in 1, volume -50 to +80 % in nine of ten)"
    )


def test_what_was_not_counted_is_not_said() -> None:
    (plain,) = expectations((figure({Region.ET: 0.75}, 1),), (Region.WT, Region.ET))
    assert str(plain) == "enhancing tumour fair (mean Dice 0.75 in 1 case)"
    assert expectations((figure({Region.ET: 0.75}, None),), (Region.ET,)) == ()


def test_a_region_that_cannot_be_relied_on_without_the_missing_sequence_is_named_first(toy_card: Card) -> None:
    alone = replace(figure({Region.WT: 0.4}), sequences=(T2F,))
    card = replace(toy_card, measured=(figure({Region.WT: 0.9, Region.TC: 0.8, Region.ET: 0.75}), alone))
    assert unreliable_regions(card, BOTH) == ()
    assert cost_of_missing(card, {T2F}) == (
        "Missing: T1 + contrast. Without it TC and ET cannot be given. Unreliable without it: whole tumour. "
        "Mean Dice, all sequences → these alone, on 10 cases (SET): WT 0.90 → 0.40."
    )
    assert (
        accuracy_in_words(card, {T2F}) == "Measured with FLAIR: whole tumour unreliable (mean Dice 0.40 in 10 cases)."
    )
    assert accuracy_in_words(replace(card, measured=()), {T2F}) is None


def test_figures_of_other_cases_are_not_set_against_each_other(toy_card: Card) -> None:
    elsewhere = replace(figure({Region.WT: 0.9}), sequences=(T2F,), data="OTHER")
    card = replace(toy_card, measured=(figure({Region.WT: 0.5}), elsewhere))
    assert cost_of_missing(card, {T2F}).endswith("What that costs in accuracy has not been measured for this model.")


def test_the_model_that_ships_says_for_every_subset_what_was_missed_and_how_far_volumes_are_off() -> None:
    card = find_card("gliomaseg-any-v2")
    for one in card.measured:
        assert set(one.regions) == set(one.dice)
        assert all(detail.cases <= one.cases and detail.missed <= detail.cases for detail in one.regions.values())
    assert Region.ET in unreliable_regions(card, {T1C})
    assert unreliable_regions(card, Modality) == ()
