"""Statistics of measurements over cases: Wilcoxon's tests as in Eijgelaar 2020, with the matching intervals."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from GliomaSegLib.errors import InputError
from GliomaSegLib.record import Record

CONFIDENCE = 0.95
_EXACT_UP_TO = 50  # pairs; more are approximated by a normal distribution, as in R


class Spread(Record):
    """Mean and quartiles of one measurement over cases; ``None`` without any case."""

    cases: int
    mean: float | None
    median: float | None
    lower_quartile: float | None
    upper_quartile: float | None


class Difference(Record):
    """Second minus first.

    Attributes:
        cases: number of pairs; of two groups, the size of the smaller one.
        median: the Hodges-Lehmann estimate: for pairs the median of all means of two differences, for two groups the
            median of all differences between them.
        lower, upper: its 95 % confidence limits; ``None`` with too few cases.
        p: two-sided, of the signed-rank or the rank-sum test; 1 when nothing differs.
        p_adjusted: p after :func:`bonferroni`.
    """

    cases: int
    median: float
    lower: float | None
    upper: float | None
    p: float
    p_adjusted: float | None = None


def spread(values: Sequence[float]) -> Spread:
    """Mean, median and quartiles (linear between the ordered values)."""
    if not len(values):
        return Spread(cases=0, mean=None, median=None, lower_quartile=None, upper_quartile=None)
    lower, median, upper = np.percentile(values, (25, 50, 75)).tolist()
    return Spread(
        cases=len(values), mean=float(np.mean(values)), median=median, lower_quartile=lower, upper_quartile=upper
    )


def paired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Wilcoxon's signed-rank test of two measurements of the same cases, and the Hodges-Lehmann difference.

    As R's ``wilcox.test(second, first, paired = TRUE, conf.int = TRUE)``, which Eijgelaar 2020 used: pairs without a
    difference are left out of the test. It is exact up to 50 pairs, with ties too (of which R approximates the p, for
    few pairs below the smallest possible one): the distribution over all signs of the ranks that there are. The limits
    are the Walsh averages at the exact quantiles of the signed-rank distribution over all pairs: five pairs or fewer
    have none.

    Raises:
        InputError: the two differ in length, or are empty.
    """
    if len(first) != len(second) or not len(first):
        raise InputError(
            f"{len(first)} and {len(second)} measurements are no pairs; give as many of both, at least one."
        )
    differences = np.subtract(second, first)
    walsh = np.sort([(one + other) / 2 for one, other in itertools.combinations_with_replacement(differences, 2)])
    lower, upper = _limits(walsh, _signed_rank_quantile(len(differences)))
    return Difference(
        cases=len(differences), median=float(np.median(walsh)), lower=lower, upper=upper, p=_signed_rank_p(differences)
    )


def rank_biserial(first: Sequence[float], second: Sequence[float]) -> float:
    """The matched-pairs rank-biserial correlation (Kerby 2014, Comprehensive Psychology 3:1), an effect size: the share
    of the ranks of the differences that favours the second, minus that which favours the first; 0 without a difference.
    """
    rest = np.subtract(second, first)
    rest = rest[rest != 0]
    ranks = stats.rankdata(np.abs(rest))
    return float(ranks @ np.sign(rest) / ranks.sum()) if rest.size else 0.0


def least_possible_p(pairs: int) -> float:
    """The smallest two-sided p that the signed-rank test of so many pairs can give: all differ in one direction."""
    return min(1.0, 2.0 ** (1 - pairs))


def _signed_rank_p(differences: NDArray[np.floating]) -> float:
    rest = differences[differences != 0]
    if not rest.size:
        return 1.0
    if len(rest) > _EXACT_UP_TO:
        return float(stats.wilcoxon(rest, method="asymptotic", correction=True).pvalue)
    doubled = np.rint(2 * stats.rankdata(np.abs(rest))).astype(int)  # tied ranks are means: their doubles are whole
    ways, positive = _sums(doubled), int(doubled[rest > 0].sum())
    return float(min(1.0, 2 * min(ways[: positive + 1].sum(), ways[positive:].sum()) / ways.sum()))


def _sums(ranks: Iterable[int]) -> NDArray[np.floating]:
    """How many subsets of the ranks have each sum, from 0 to the sum of all."""
    ways = np.ones(1)
    for rank in ranks:
        ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
    return ways


def unpaired(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Wilcoxon's rank-sum (Mann-Whitney) test of two groups of cases, and the Hodges-Lehmann shift.

    Exact up to 50 cases per group without ties; the limits likewise, by a normal approximation for larger groups.

    Raises:
        InputError: a group is empty.
    """
    if not len(first) or not len(second):
        raise InputError("A group without cases cannot be compared; give each data set at least one.")
    both = np.concatenate([first, second])
    exact = max(len(first), len(second)) <= _EXACT_UP_TO and len(np.unique(both)) == len(both)
    p = stats.mannwhitneyu(second, first, method="exact" if exact else "asymptotic").pvalue
    shifts = np.sort(np.subtract.outer(np.asarray(second, float), np.asarray(first, float)).ravel())
    lower, upper = _limits(shifts, _rank_sum_quantile(len(first), len(second)))
    return Difference(
        cases=min(len(first), len(second)),
        median=float(np.median(shifts)),
        lower=lower,
        upper=upper,
        p=float(min(p, 1)),
    )


def bonferroni(differences: Sequence[Difference]) -> list[Difference]:
    """Bonferroni correction over all of them: p-values multiplied by their number, at most 1."""
    return [one.model_copy(update={"p_adjusted": min(1.0, one.p * len(differences))}) for one in differences]


# --- confidence limits from ordered values -------------------------------------------------------------------------


def _limits(ordered: NDArray[np.floating], quantile: int) -> tuple[float | None, float | None]:
    """The ``quantile``-th value from either end; none when it is 0."""
    return (float(ordered[quantile - 1]), float(ordered[-quantile])) if quantile else (None, None)


def _signed_rank_quantile(pairs: int) -> int:
    """How many values of the signed-rank statistic lie, together, below probability 2.5 %: 0 for up to 5 pairs."""
    if pairs > _EXACT_UP_TO:
        return _normal_quantile(pairs * (pairs + 1) / 4, pairs * (pairs + 1) * (2 * pairs + 1) / 24)
    return _count_below(_sums(range(1, pairs + 1)))


def _rank_sum_quantile(first: int, second: int) -> int:
    """The same of the Mann-Whitney statistic."""
    if max(first, second) > _EXACT_UP_TO:
        return _normal_quantile(first * second / 2, first * second * (first + second + 1) / 12)
    # Gauss's binomial coefficient: the product of (1 - x^(second + i)) / (1 - x^i).
    ways = np.zeros(first * second + 1)
    ways[0] = 1
    for i in range(1, first + 1):
        ways[second + i :] -= ways[: len(ways) - second - i].copy()
        for at in range(i, len(ways)):
            ways[at] += ways[at - i]
    return _count_below(ways)


def _count_below(ways: NDArray[np.floating]) -> int:
    return int(np.searchsorted(np.cumsum(ways) / ways.sum(), (1 - CONFIDENCE) / 2, side="right"))


def _normal_quantile(mean: float, variance: float) -> int:
    return max(0, math.floor(mean - stats.norm.ppf((1 + CONFIDENCE) / 2) * math.sqrt(variance)))
