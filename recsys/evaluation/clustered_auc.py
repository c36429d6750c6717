"""Variance of the AUC when the rows of a group (user) are not independent (Obuchowski, Biometrics 53, 1997).

DeLong's structural components are summed by group: whole groups, not rows, are the independent draws. With one row a
group it is DeLong's variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.evaluation.ranks import Weights


def clustered_variance(
    wins: NDArray[np.float64],
    losses: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
    weights: Weights | None = None,
) -> tuple[float, int]:
    """Variance of the mean of structural components, and the number of groups; NaN unless each label is in two of them.

    For the difference of two models, pass the differences of their components.

    Args:
        wins: [P] share of its pairs that each positive wins, in the order of the rows.
        losses: [M] share of its pairs that each negative loses.
        is_positive: [N] the rows, N = P + M.
        groups: [N] codes from 0.
        weights: [N], above 0.
    """
    num_groups = int(groups.max()) + 1
    sides = [
        _centred_sums(components, groups[mask], None if weights is None else weights[mask], num_groups)
        for components, mask in ((wins, is_positive), (losses, ~is_positive))
    ]
    (positive, of_positives), (negative, of_negatives) = sides
    num_with_positives, num_with_negatives = np.count_nonzero(of_positives), np.count_nonzero(of_negatives)
    num_used = int(np.count_nonzero(of_positives + of_negatives))
    if min(num_with_positives, num_with_negatives) < 2:
        return float("nan"), num_used
    variance = (
        num_with_positives / (num_with_positives - 1) * np.square(positive).sum()
        + num_with_negatives / (num_with_negatives - 1) * np.square(negative).sum()
        + 2 * num_used / (num_used - 1) * (positive * negative).sum()
    )
    return max(0.0, float(variance)), num_used


def _centred_sums(
    components: NDArray[np.float64], groups: NDArray[np.int64], weights: Weights | None, num_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums by group of components less their mean, as parts of all rows, and rows of each group: [G] both."""
    shares = np.full(len(components), 1 / len(components)) if weights is None else weights / weights.sum()
    sums = np.bincount(groups, shares * (components - (shares * components).sum()), num_groups)
    return sums.astype(np.float64), np.bincount(groups, minlength=num_groups).astype(np.int64)
