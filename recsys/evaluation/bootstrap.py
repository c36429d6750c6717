"""Poisson bootstrap over groups, for every metric that follows from sums (Chamandy et al., 2012).

A user's rows are not independent, so whole groups are drawn: each counts Poisson(1) times. Without groups, rows are
dealt at random to 4,096 groups, which leaves the variance of sums of independent rows as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.auc import Comparison, Interval, comparison

NUM_REPLICATES = 1000
NUM_RANDOM_GROUPS = 4096
_BLOCK = 1 << 22  # group draws in memory at a time

Statistic = Callable[[NDArray[np.float64]], Mapping[str, NDArray[np.float64]]]
"""Metrics [...] by name from sums [..., S]."""


def group_sums(values: NDArray[np.float64], groups: NDArray[np.integer] | None, seed: int = 0) -> NDArray[np.float64]:
    """Sums of the rows' values [N, S] by group, [G, S]; random groups where there are none."""
    if groups is None:
        groups = np.random.default_rng(seed).integers(0, min(len(values), NUM_RANDOM_GROUPS), len(values))
    num_groups = int(groups.max()) + 1 if len(groups) else 0
    return np.stack([np.bincount(groups, column, num_groups) for column in values.T], axis=1)


def replicates(sums: NDArray[np.float64], num_replicates: int = NUM_REPLICATES, seed: int = 0) -> NDArray[np.float64]:
    """Sums over groups [G, S] drawn anew, [num_replicates, S]."""
    generator = np.random.default_rng(seed)
    total = np.zeros((num_replicates, sums.shape[1]))
    step = max(1, _BLOCK // num_replicates)
    for start in range(0, len(sums), step):
        part = sums[start : start + step]
        total += generator.poisson(1.0, (num_replicates, len(part))).astype(np.float64) @ part
    return total


def intervals(
    sums: NDArray[np.float64], statistic: Statistic, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """Every metric of group sums [G, S] with its percentile interval."""
    drawn = statistic(replicates(sums, seed=seed))
    return {
        name: Interval(float(value), *percentiles(drawn[name], confidence))
        for name, value in statistic(sums.sum(0)).items()
    }


def compare(
    first: NDArray[np.float64],
    second: NDArray[np.float64],
    statistic: Statistic,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Differences of the metrics of two models over the same groups: both see the same draws."""
    width = first.shape[1]
    both = replicates(np.concatenate([first, second], axis=1), seed=seed)
    drawn_first, drawn_second = statistic(both[:, :width]), statistic(both[:, width:])
    values_first, values_second = statistic(first.sum(0)), statistic(second.sum(0))
    found = {}
    for name in values_first:
        a, b = float(values_first[name]), float(values_second[name])
        with np.errstate(invalid="ignore"):
            deviation = float(np.std(drawn_second[name] - drawn_first[name], ddof=1))
        found[name] = comparison(a, b, b - a, deviation, confidence)
    return found


def percentiles(values: NDArray[np.float64], confidence: float) -> tuple[float, float]:
    """Bounds that hold the middle of the replicates; NaN with fewer than two that are finite."""
    known = values[np.isfinite(values)]
    if len(known) < 2:
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)
