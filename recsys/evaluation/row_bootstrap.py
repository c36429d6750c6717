"""Bootstrap intervals of metrics that need all rows: PR-AUC and expected calibration error.

Each replicate is a pass over the rows, sorted once; larger data are left without an interval.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.bootstrap import percentiles
from recsys.evaluation.calibration import bins_of

MAX_ROWS = 2_000_000
NUM_REPLICATES = 200

_Statistic = Callable[[NDArray[np.float64]], float]
"""A metric from a weight of each row, [N]."""


def row_intervals(
    is_positive: NDArray[np.bool_],
    probabilities: NDArray[np.float64],
    weights: NDArray[np.float64] | None,
    groups: NDArray[np.int64] | None,
    confidence: float = 0.95,
    seed: int = 0,
) -> dict[str, tuple[float, float]]:
    """Bounds of pr_auc and expected_calibration_error; NaN with more than 2 million rows.

    Whole groups are drawn; without groups, single rows.
    """
    names: dict[str, _Statistic] = {
        "pr_auc": _average_precision(is_positive, probabilities),
        "expected_calibration_error": _calibration_error(is_positive, probabilities),
    }
    if len(probabilities) > MAX_ROWS:
        return dict.fromkeys(names, (float("nan"), float("nan")))
    drawn: dict[str, list[float]] = {name: [] for name in names}
    for counts in _draws(len(probabilities), groups, seed):
        weighted = counts if weights is None else counts * weights
        for name, statistic in names.items():
            drawn[name].append(statistic(weighted))
    return {name: percentiles(np.array(values), confidence) for name, values in drawn.items()}


def _draws(num_rows: int, groups: NDArray[np.int64] | None, seed: int) -> Iterator[NDArray[np.float64]]:
    generator = np.random.default_rng(seed)
    num_groups = num_rows if groups is None else int(groups.max()) + 1
    for _ in range(NUM_REPLICATES):
        counts = generator.poisson(1.0, num_groups).astype(np.float64)
        yield counts if groups is None else counts[groups]


def _average_precision(is_positive: NDArray[np.bool_], scores: NDArray[np.float64]) -> _Statistic:
    order = np.argsort(scores)[::-1]
    ordered, positive = scores[order], is_positive[order]
    ends = np.flatnonzero(np.concatenate([ordered[1:] != ordered[:-1], [True]]))

    def statistic(weights: NDArray[np.float64]) -> float:
        w = weights[order]
        total, true = np.cumsum(w)[ends], np.cumsum(w * positive)[ends]
        gains = np.diff(true, prepend=0.0)
        risen = gains > 0
        if not risen.any():
            return float("nan")
        return float((gains[risen] * true[risen] / total[risen]).sum() / true[-1])

    return statistic


def _calibration_error(is_positive: NDArray[np.bool_], probabilities: NDArray[np.float64]) -> _Statistic:
    bins, excess = bins_of(probabilities), probabilities - is_positive

    def statistic(weights: NDArray[np.float64]) -> float:
        total = float(weights.sum())
        return float(np.abs(np.bincount(bins, weights * excess)).sum()) / total if total > 0 else float("nan")

    return statistic
