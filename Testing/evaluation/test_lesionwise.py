"""Lesion-wise scores equal the BraTS 2023 challenge's own, recorded by ``python -m Testing.parity.lesionwise``."""

from __future__ import annotations

import json

import numpy as np
import pytest

from GliomaSegLib.evaluation.lesionwise import MISSED_MM, lesion_wise
from GliomaSegLib.options import Challenge
from Testing.parity.lesionwise import RECORDED, largest_difference, own_scores
from Testing.support.lesions import CASES, generated_pair

CHALLENGE = json.loads(RECORDED.read_text(encoding="utf-8"))


def test_every_generated_case_was_recorded_with_something_to_find() -> None:
    assert [one["case"] for one in CHALLENGE] == list(range(CASES))
    counts = {name: sum(one["scores"]["WT"][name] for one in CHALLENGE) for name in CHALLENGE[0]["scores"]["WT"]}
    assert min(counts["lesions_found"], counts["lesions_missed"], counts["lesions_false"]) > 3


@pytest.mark.parametrize("recorded", CHALLENGE, ids=lambda one: f"{one['case']} {one['challenge']}")
def test_scores_equal_those_of_the_challenges_program(recorded: dict) -> None:
    ours = own_scores(*generated_pair(recorded["case"]), Challenge(recorded["challenge"]))
    assert largest_difference(ours, recorded["scores"]) < 1e-6


def test_nothing_anywhere_is_perfect_and_a_speck_is_left_out() -> None:
    nothing, speck = np.zeros((20, 20, 20), bool), np.zeros((20, 20, 20), bool)
    speck[4:6, 4:6, 4:6] = True
    for prediction, reference in ((nothing, nothing), (nothing, speck), (speck, speck)):
        found = lesion_wise(prediction, reference, (1.0, 1.0, 1.0))
        assert (found.dice, found.hd95_mm, found.found, found.missed, found.false) == (1.0, 0.0, 0, 0, 0)
    false = lesion_wise(speck, nothing, (1.0, 1.0, 1.0))
    assert (false.dice, false.hd95_mm, false.false) == (0.0, MISSED_MM, 1)
    missed = lesion_wise(nothing, speck, (1.0, 1.0, 1.0), Challenge.MET)
    assert (missed.dice, missed.hd95_mm, missed.missed) == (0.0, MISSED_MM, 1)
