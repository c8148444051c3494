"""What README promises is there."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.zoo.card import Card, Status
from GliomaSegLib.zoo.catalogue import all_cards

ROOT = Path(__file__).parents[2]


def test_the_links_of_the_readme_resolve() -> None:
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", (ROOT / "README.md").read_text(encoding="utf-8"))
    assert links
    assert [link for link in links if not (ROOT / link).is_file()] == []


def test_the_readme_says_that_this_is_no_medical_device() -> None:
    assert "Not a medical device" in (ROOT / "README.md").read_text(encoding="utf-8")


MEASURED = [card for card in all_cards().values() if card.status is Status.VERIFIED and card.measured]


def test_there_are_models_whose_accuracy_was_measured() -> None:
    assert {"ca-cnn-brats17", "gliomaseg-any-v1"} <= {card.id for card in MEASURED}


@pytest.mark.parametrize("card", MEASURED, ids=lambda card: card.id)
def test_a_measured_card_knows_what_every_subset_of_its_sequences_costs(card: Card) -> None:
    for size in range(1, len(card.inputs.sequences) + 1):
        for present in combinations(card.inputs.sequences, size):
            if set(card.inputs.mandatory) <= set(present):
                figure = card.measured_with(present)
                assert figure, present
                assert set(figure.dice) == set(card.regions_given(present))
                assert figure.cases
                assert "bench" in figure.source
    assert card.cost_of_missing(card.inputs.sequences) is None
    assert "Mean Dice" in card.cost_of_missing([Modality.T2F])
