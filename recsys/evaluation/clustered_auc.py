"""Variance of the AUC when the rows of a group (user) are not independent (Obuchowski, Biometrics 53, 1997).

DeLong's structural components are summed by group: whole groups, not rows, are the independent draws. With one row a
group it is DeLong's variance.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def clustered_variance(
    wins: NDArray[np.float64],
    losses: NDArray[np.float64],
    is_positive: NDArray[np.bool_],
    groups: NDArray[np.int64],
) -> float:
    """Variance of the mean of structural components; NaN unless each label occurs in two groups or more.

    For the difference of two models, pass the differences of their components.

    Args:
        wins: [P] share of its pairs that each positive wins, in the order of the rows.
        losses: [M] share of its pairs that each negative loses.
        is_positive: [N] the rows, N = P + M.
        groups: [N] codes from 0.
    """
    num_groups = int(groups.max()) + 1
    positive, of_positives = _centred_sums(wins, groups[is_positive], num_groups)
    negative, of_negatives = _centred_sums(losses, groups[~is_positive], num_groups)
    num_with_positives, num_with_negatives = np.count_nonzero(of_positives), np.count_nonzero(of_negatives)
    if min(num_with_positives, num_with_negatives) < 2:
        return float("nan")
    num_used = np.count_nonzero(of_positives + of_negatives)
    variance = (
        num_with_positives / (num_with_positives - 1) * np.square(positive).sum() / len(wins) ** 2
        + num_with_negatives / (num_with_negatives - 1) * np.square(negative).sum() / len(losses) ** 2
        + 2 * num_used / (num_used - 1) * (positive * negative).sum() / (len(wins) * len(losses))
    )
    return max(0.0, float(variance))


def _centred_sums(
    components: NDArray[np.float64], groups: NDArray[np.int64], num_groups: int
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Sums by group of components less their mean, and the number of rows of each group, [G] both."""
    sums = np.bincount(groups, components - components.mean(), num_groups).astype(np.float64)
    return sums, np.bincount(groups, minlength=num_groups).astype(np.int64)
