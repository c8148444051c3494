"""Tests against values worked out by hand, by enumeration and by scipy."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

from GliomaSegLib.errors import InputError
from GliomaSegLib.evaluation.statistics import (
    _rank_sum_quantile,
    _signed_rank_quantile,
    bonferroni,
    paired,
    spread,
    unpaired,
)

# Nine patients' depression scores before and after treatment (Hollander and Wolfe 1973, example 3.1).
BEFORE = (1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30)
AFTER = (0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29)


def test_spread_interpolates_between_values() -> None:
    found = spread([4.0, 1.0, 3.0, 2.0])
    assert (found.cases, found.mean, found.median) == (4, 2.5, 2.5)
    assert (found.lower_quartile, found.upper_quartile) == (1.75, 3.25)


def test_spread_of_nothing() -> None:
    assert spread([]).median is None
    assert spread([]).cases == 0


def test_paired_published_example() -> None:
    found = paired(BEFORE, AFTER)
    assert found.p == pytest.approx(0.0390625)  # V = 40 of 45: twice the published one-sided 0.01953
    assert found.median == pytest.approx(-0.46)


def test_paired_limits_by_hand() -> None:
    """Six differences 1 to 6: only sums 0 and 21 lie beyond 2.5 % (1/64 each), so the limits are the extremes."""
    found = paired(np.zeros(6), np.arange(1.0, 7.0))
    assert (found.lower, found.median, found.upper) == (1.0, 3.5, 6.0)
    assert found.p == pytest.approx(2 / 64)


def test_paired_limits_agree_with_the_test() -> None:
    """The interval holds exactly the shifts that the test does not refuse."""
    differences = np.random.default_rng(0).normal(0.3, 1, 15)
    found = paired(np.zeros(15), differences)
    for shift, refused in ((found.lower, True), (found.upper, True), (found.lower, False), (found.upper, False)):
        outwards = -1e-6 if shift == found.lower else 1e-6
        p = stats.wilcoxon(differences - shift - (outwards if refused else -outwards)).pvalue
        assert bool(p < 0.05) is refused


def test_five_pairs_have_no_limits() -> None:
    found = paired(np.zeros(5), np.arange(1.0, 6.0))
    assert (found.lower, found.median, found.upper) == (None, 3.0, None)


@pytest.mark.parametrize("pairs", [1, 5, 6, 9, 12])
def test_signed_rank_quantile_by_enumeration(pairs: int) -> None:
    ranks = np.arange(1, pairs + 1)
    sums = np.sort([np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=pairs)])
    below = sum(np.mean(sums <= value) <= 0.025 for value in range(ranks.sum() + 1))
    assert _signed_rank_quantile(pairs) == below


def test_large_numbers_are_approximated_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = _signed_rank_quantile(50), _rank_sum_quantile(40, 50)
    monkeypatch.setattr("GliomaSegLib.evaluation.statistics._EXACT_UP_TO", 1)
    approximate = _signed_rank_quantile(50), _rank_sum_quantile(40, 50)
    assert approximate == pytest.approx(exact, abs=3)


def test_pairs_that_do_not_differ() -> None:
    found = paired([0.5, 0.7], [0.5, 0.7])
    assert (found.p, found.median) == (1.0, 0.0)


def test_ties_and_zeros_by_enumeration() -> None:
    """Without the zero: ranks 2, 2, 2, 4.5, 4.5, 6, of which -1 takes one 2, so V = 19 of 21."""
    ranks = np.array([2, 2, 2, 4.5, 4.5, 6])
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=6)])
    assert paired(np.zeros(7), [0, 1, 1, 2, -1, 3, 2]).p == pytest.approx(2 * np.mean(sums >= 19))


def test_no_p_of_few_tied_pairs_is_below_the_smallest_possible() -> None:
    assert paired(np.zeros(3), [1, 1, 1]).p == 2 / 8
    assert paired(np.zeros(6), np.ones(6)).p == 2 / 64


def test_the_exact_test_agrees_with_the_approximation_where_both_are_good() -> None:
    differences = np.random.default_rng(1).normal(0.2, 1, 50).round(1)
    rest = differences[differences != 0]
    exact, approximate = paired(np.zeros(50), differences).p, stats.wilcoxon(rest, method="asymptotic").pvalue
    assert exact == pytest.approx(approximate, abs=0.01)


def test_paired_refuses_what_is_no_pair() -> None:
    with pytest.raises(InputError, match="no pairs"):
        paired([1.0], [1.0, 2.0])


def test_unpaired_by_hand() -> None:
    """Four against four, apart: one of 70 orders lies at either end, so the limits are the extreme differences."""
    found = unpaired([1, 2, 3, 4], [5.5, 6.5, 7.5, 8.5])
    assert (found.lower, found.median, found.upper) == (1.5, 4.5, 7.5)
    assert found.p == pytest.approx(2 / 70)


def test_three_against_three_have_no_limits() -> None:
    found = unpaired([1, 2, 3], [4, 5, 6])
    assert found.lower is None
    assert found.p == pytest.approx(0.1)


@pytest.mark.parametrize(("first", "second"), [(4, 4), (3, 6), (5, 4), (1, 7)])
def test_rank_sum_quantile_by_enumeration(first: int, second: int) -> None:
    groups = itertools.combinations(range(first + second), first)
    statistics = np.array([sum(group) - first * (first - 1) // 2 for group in groups])
    below = sum(np.mean(statistics <= value) <= 0.025 for value in range(first * second + 1))
    assert _rank_sum_quantile(first, second) == below


def test_unpaired_agrees_with_scipy_with_ties() -> None:
    first, second = [0.8, 0.9, 0.9, 0.7], [0.4, 0.5, 0.9, 0.6, 0.2]
    assert unpaired(first, second).p == pytest.approx(stats.mannwhitneyu(first, second, method="asymptotic").pvalue)


def test_unpaired_refuses_an_empty_group() -> None:
    with pytest.raises(InputError, match="without cases"):
        unpaired([], [1.0])


def test_bonferroni_multiplies_by_all_tests() -> None:
    differences = [paired(np.zeros(6), np.arange(1.0, 7.0)), paired([0.0], [1.0])]
    assert [one.p_adjusted for one in bonferroni(differences)] == [pytest.approx(4 / 64), 1.0]
