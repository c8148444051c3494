"""Samplers of present sequences: never none, never one that is not there, and as often as they say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from GliomaSegLib.case import Modality
from GliomaSegLib.training.modality_dropout import Sampler, any_subset, eijgelaar2020, keep_all

_DRAWS = 4000
_T1C, _T2F = 1, 3


def _drawn(sampler: Sampler, present: np.ndarray) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.array([sampler(present, rng) for _ in range(_DRAWS)])


@pytest.mark.parametrize("sampler", [keep_all, eijgelaar2020(), any_subset(), any_subset(0.1, {Modality.T2F: 3.0})])
@pytest.mark.parametrize("present", [list(one) for one in itertools.product([False, True], repeat=4) if any(one)])
def test_something_is_left_and_nothing_is_invented(sampler: Sampler, present: list[bool]) -> None:
    present = np.array(present)
    drawn = _drawn(sampler, present)[:300]
    assert drawn.any(axis=1).all()
    assert not drawn[:, ~present].any()


def test_eijgelaar_keeps_t1c_and_drops_the_others_independently() -> None:
    drawn = _drawn(eijgelaar2020(0.2), np.ones(4, bool))
    assert drawn[:, _T1C].all()
    others = ~drawn[:, [0, 2, 3]]
    assert others.mean(axis=0) == pytest.approx([0.2] * 3, abs=0.025)
    assert (others[:, 0] & others[:, 1]).mean() == pytest.approx(0.04, abs=0.015)


def test_any_subset_draws_every_proper_subset_alike() -> None:
    drawn = _drawn(any_subset(0.25), np.ones(4, bool))
    codes, counts = np.unique(drawn @ [1, 2, 4, 8], return_counts=True)
    assert codes.tolist() == list(range(1, 16))
    assert counts[-1] / _DRAWS == pytest.approx(0.25, abs=0.03)
    assert counts[:-1] / _DRAWS == pytest.approx(np.full(14, 0.75 / 14), abs=0.02)


def test_any_subset_can_draw_those_without_a_sequence_more_often() -> None:
    drawn = _drawn(any_subset(0.0, {Modality.T2F: 2.0}), np.ones(4, bool))
    without = (~drawn[:, _T2F]).mean()
    assert without == pytest.approx(2 * 7 / (2 * 7 + 7), abs=0.03)
