"""Metrics that are weighted means of what draws have: GAUC over users, ranking metrics over queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.intervals import SHARE, Comparison, Draws, Interval, comparison, interval

Values = NDArray[np.float64]


def mean_intervals(names: Sequence[str], draws: Draws, confidence: float) -> dict[str, Interval]:
    """Means in [0, 1] with their intervals, from draws of the sums of M metrics and of their weight, [n, M + 1]."""
    means, gradients = _means(draws.total)
    deviations = draws.deviations(gradients)
    return {
        name: interval(float(mean), float(deviation), confidence, SHARE, draws.number)
        for name, mean, deviation in zip(names, means, deviations, strict=True)
    }


def compare_means(names: Sequence[str], both: Draws, confidence: float) -> dict[str, Comparison]:
    """Differences of such means of two models, from draws of the sums of both, side by side, [n, 2 (M + 1)]."""
    (first, of_first), (second, of_second) = (_means(total) for total in np.split(both.total, 2))
    deviations = both.deviations(np.concatenate([-of_first, of_second]))
    return {
        name: comparison(float(a), float(b), float(deviation), confidence, both.number)
        for name, a, b, deviation in zip(names, first, second, deviations, strict=True)
    }


def _means(total: Values) -> tuple[Values, Values]:
    """Means [M] of sums [M + 1], and their derivatives by the sums, [M + 1, M]."""
    with np.errstate(invalid="ignore", divide="ignore"):
        means = total[:-1] / total[-1]
        return means, np.concatenate([np.eye(len(means)), -means[None]]) / total[-1]
