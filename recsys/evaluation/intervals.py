"""Intervals of metrics that follow a sample smoothly, and tests of differences, without any resampling.

A metric moves by so much for each row more of a kind: its influence. The influences of the rows that were drawn
together are summed, and the squares of these sums add up to the variance of the metric (infinitesimal jackknife; with
groups the cluster-robust sandwich of Liang and Zeger, 1986). An interval is made on a scale on which the metric is
unbounded, around the metric itself, so that it always contains it.

What is drawn: a row, as often as its weight says, so that weight 2 is the row twice; with groups, a whole group. Where
weights are no whole numbers they count nothing, and only groups tell what was drawn; without them there is no interval.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import NormalDist
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Values = NDArray[np.float64]
Chunk = tuple[Values, Values | None]
"""What draws add to sums, [n, S], and how often each was drawn, [n]; None for once."""
FEWEST_DRAWS = 10
"""Fewer say too little of the spread of what was not drawn: there is no interval and no test."""
_EXACT = 2**53
_FARTHEST = 3.0
"""On a scale of logarithms an interval reaches to twentyfold and a twentieth; beyond, nothing follows it linearly."""
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval, NaN where there is none."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two models on the same rows, second minus first, with its interval and two-sided p-value."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


_Found = TypeVar("_Found", Interval, Comparison)


@dataclass(frozen=True)
class Scale:
    """Where a metric lives, and a scale on which it is unbounded.

    Args:
        to: that scale.
        back: from it.
        slope: derivative of `to`.
        low: the metric's bound, at which there is no interval.
        high: likewise.
    """

    to: Callable[[float], float]
    back: Callable[[float], float]
    slope: Callable[[float], float]
    low: float
    high: float


def _logit(value: float) -> float:
    return math.log(value) - math.log1p(-value)


def _sigmoid(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value > 0 else math.exp(value) / (1 + math.exp(value))


def _exp(value: float) -> float:
    return math.exp(min(value, 709.0))


SHARE = Scale(_logit, _sigmoid, lambda value: 1 / (value * (1 - value)), 0.0, 1.0)
POSITIVE = Scale(math.log, _exp, lambda value: 1 / value, 0.0, math.inf)


@dataclass(frozen=True)
class Draws:
    """The independent draws of a sample, as what each adds to sums of S quantities.

    Args:
        chunks: reads all of them, from the start each time.
        are_counted: how often each was drawn is known.
        of_rows: the sums [S] as the rows give them that draws are groups of, whatever the groups; None for the draws'.
    """

    chunks: Callable[[], Iterable[Chunk]]
    are_counted: bool = True
    of_rows: Values | None = None

    @cached_property
    def _sums(self) -> tuple[Values, float]:
        """The sums, and the number of draws, in one reading."""
        totals, numbers = [], []
        with np.errstate(invalid="ignore"):
            for values, counts in self.chunks():
                totals.append(_weighted(values, counts).sum(0))
                numbers.append(float(len(values) if counts is None else counts.sum()))
        return np.sum(totals, axis=0), math.fsum(numbers)

    @property
    def total(self) -> Values:
        """The sums, [S]."""
        return self._sums[0] if self.of_rows is None else self.of_rows

    @property
    def number(self) -> float:
        """How many there are."""
        return self._sums[1]

    def deviations(self, gradients: Values) -> Values:
        """Standard deviations [M] of metrics whose derivatives by the sums are gradients [S, M]; NaN where unknown.

        The influences are taken to sum to 0, as they do for every mean and ratio.
        """
        number = self.number
        if not self.are_counted or number < 2:
            return np.full(gradients.shape[1], np.nan)
        with np.errstate(invalid="ignore", over="ignore"):
            # What is infinite makes only those metrics unknown whose derivative says so.
            chunks = ((np.where(np.isinf(values), 0.0, values), counts) for values, counts in self.chunks())
            squares = np.sum([_weighted(np.square(v @ gradients), counts).sum(0) for v, counts in chunks], axis=0)
            return np.sqrt(squares * number / (number - 1))


def _weighted(values: Values, counts: Values | None) -> Values:
    return values if counts is None else values * counts[:, None]


def draws_of(values: Values, weights: Values | None, groups: NDArray[np.int64] | None) -> Draws:
    """Draws of rows that add values [N, S], as often as their weights say; of groups, where there are any."""
    return draws_of_chunks(lambda: [(values, weights)], weights, groups)


def draws_of_chunks(
    chunks: Callable[[], Iterable[Chunk]], weights: Values | None, groups: NDArray[np.int64] | None
) -> Draws:
    """Draws of rows read in chunks, with the weights [N] and the groups [N], numbered from 0, of all of them."""
    if groups is None:
        return Draws(chunks, are_whole(weights))
    sums: Values | float = 0.0
    totals, first = [], 0
    for values, counts in chunks():
        mine, weighted = groups[first : first + len(values)], _weighted(values, counts)
        sums = sums + _group_sums(weighted, mine, int(groups.max()) + 1)
        totals.append(weighted.sum(0))
        first += len(values)
    occurring = np.asarray(sums)[np.bincount(groups) > 0]
    return Draws(lambda: [(occurring, None)], of_rows=np.sum(totals, axis=0))


def _group_sums(values: Values, groups: NDArray[np.int64], num_groups: int) -> Values:
    return np.stack([np.bincount(groups, column, num_groups) for column in values.T], axis=1)


def are_whole(weights: NDArray[np.number] | None) -> bool:
    """Whether weights can be counts of rows."""
    return weights is None or bool(np.array_equal(weights, np.floor(weights)) and weights.sum() < _EXACT)


def quantile(confidence: float, num_draws: float | None = None) -> float:
    """Half-width of an interval in standard deviations: Student's, where those are estimated from so many draws.

    Raises:
        ValueError: if confidence is not in (0, 1).
    """
    if not 0 < confidence < 1 or 0.5 + confidence / 2 >= 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}.")
    if num_draws is None:
        return NormalDist().inv_cdf(0.5 + confidence / 2)
    return float(stdtrit(num_draws - 1, 0.5 + confidence / 2)) if num_draws >= 2 else math.nan


def interval(
    value: float, deviation: float, confidence: float, scale: Scale, num_draws: float | None = None
) -> Interval:
    """A value with its interval; without one at the end of the scale or where all draws are alike.

    There nothing is known of what the draws that were not made would have been.
    """
    reach = quantile(confidence, num_draws) * deviation
    if not (scale.low < value < scale.high and _ROUNDING * value < reach < math.inf):
        return Interval(value, math.nan, math.nan)
    centre, reach = scale.to(value), reach * scale.slope(value)
    if scale is POSITIVE and reach > _FARTHEST:
        return Interval(value, math.nan, math.nan)
    return around(value, scale.back(centre - reach), scale.back(centre + reach))


def num_draws_of(num_rows: int, weights: NDArray[np.number] | None, groups: NDArray[np.int64] | None) -> float:
    """How many draws rows are: groups where there are any, else rows, as often as their weights say."""
    if groups is not None:
        return float(np.count_nonzero(np.bincount(groups)))
    return float(num_rows if weights is None else weights.sum())


def if_enough(found: Mapping[str, _Found], num_draws: float) -> dict[str, _Found]:
    """Intervals or comparisons as they are; without bounds and p-values where there were too few draws."""
    if num_draws >= FEWEST_DRAWS:
        return dict(found)
    nothing = {"low": math.nan, "high": math.nan}
    return {
        name: replace(each, **nothing, **({"p_value": math.nan} if isinstance(each, Comparison) else {}))
        for name, each in found.items()
    }


def few_draws(num_draws: float, of: str) -> list[str]:
    """What to know of a report of few draws; nothing where they are enough."""
    if num_draws >= FEWEST_DRAWS:
        return []
    return [f"Of {num_draws:g} {of} little is known: fewer than {FEWEST_DRAWS} give no interval and no test."]


def around(value: float, low: float, high: float) -> Interval:
    """An interval that contains its value, whatever rounding does."""
    return Interval(value, min(low, value), max(high, value))


def comparison(
    first: float, second: float, deviation: float, confidence: float, num_draws: float | None = None
) -> Comparison:
    """A difference with a known standard deviation; where that is 0 there is nothing to test but equality."""
    difference, reach = second - first, quantile(confidence, num_draws) * deviation
    nothing = _ROUNDING * (abs(first) + abs(second))
    if not nothing < reach < math.inf:
        are_equal = abs(difference) <= nothing and reach <= nothing
        return Comparison(first, second, difference, math.nan, math.nan, 1.0 if are_equal else math.nan)
    distance = -abs(difference) / deviation
    tail = NormalDist().cdf(distance) if num_draws is None else float(stdtr(num_draws - 1, distance))
    return Comparison(first, second, difference, difference - reach, difference + reach, 2 * tail)
