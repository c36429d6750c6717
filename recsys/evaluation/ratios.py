"""Metrics that are ratios of sums over groups: GAUC over users, ranking metrics over queries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.bootstrap import Statistic
from recsys.evaluation.files import Rows
from recsys.evaluation.grouped import gauc
from recsys.evaluation.lists import ListMetrics


def gauc_sums(rows: Rows, groups: NDArray[np.int64]) -> NDArray[np.float64]:
    """Rows x AUC and rows of every group with both labels, [G, 2]; GAUC is the ratio of their sums."""
    within = gauc(rows.is_positive, rows.scores, groups)
    return np.stack([within.num_rows * within.areas, within.num_rows.astype(np.float64)], axis=1)


def list_sums(lists: ListMetrics) -> NDArray[np.float64]:
    """Every metric of each query, and 1, [Q, metrics + 1]; means are the ratios of their sums."""
    return np.stack([*lists.values.values(), np.ones(len(lists.queries))], axis=1)


def ratios_to_last(names: Sequence[str]) -> Statistic:
    """Metrics that are sums over the last sum, by name."""

    def statistic(sums: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
        with np.errstate(invalid="ignore"):
            return {name: sums[..., place] / sums[..., -1] for place, name in enumerate(names)}

    return statistic
