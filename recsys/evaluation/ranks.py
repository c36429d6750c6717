"""Mann-Whitney counts of sorted scores: what AUC, its variance and its intervals are made of.

Every pair of a positive and a negative row counts 2 if the positive scores above, 1 if they tie, so that all counting
is in integers and the only rounding is that of the last division.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22  # rows whose counts are in memory at a time

Scores = NDArray[np.floating]


@dataclass
class PairCounts:
    """Sums over pairs of a positive and a negative row.

    Args:
        num_positives: rows with label 1.
        num_negatives: rows with label 0.
        twice_wins: 2 for each pair that the positive wins, 1 for each tie.
        positive_squares: sum over positives of the square of their share of pairs won, in [0, 1] each.
        negative_squares: sum over negatives of the square of the share of pairs won by the positive.
    """

    num_positives: int = 0
    num_negatives: int = 0
    twice_wins: int = 0
    positive_squares: float = 0.0
    negative_squares: float = 0.0

    @property
    def auc(self) -> float:
        """Probability that a positive scores above a negative, a tie counting one half."""
        return self.twice_wins / (2 * self.num_positives * self.num_negatives)

    @property
    def variance(self) -> float:
        """DeLong's estimate of the variance of the AUC; NaN with fewer than two rows of a label."""
        if min(self.num_positives, self.num_negatives) < 2:
            return float("nan")
        spread = 0.0
        for squares, count in (
            (self.positive_squares, self.num_positives),
            (self.negative_squares, self.num_negatives),
        ):
            spread += max(0.0, squares / count - self.auc**2) / (count - 1)
        return spread


def count_pairs(
    positives: Scores, negatives: Scores, below: tuple[int, int] = (0, 0), totals: tuple[int, int] | None = None
) -> PairCounts:
    """Count the pairs of sorted scores.

    Args:
        positives: [P] scores of label 1, ascending.
        negatives: [N] scores of label 0, ascending.
        below: how many further positives and negatives lie below all of these.
        totals: positives and negatives in all, where these are a part; the shares refer to them.
    """
    num_positives, num_negatives = totals or (len(positives), len(negatives))
    counts = PairCounts(len(positives), len(negatives))
    for won in _twice_below(positives, negatives):
        won += 2 * below[1]
        counts.twice_wins += int(won.sum())
        counts.positive_squares += float(np.square(won / (2.0 * num_negatives)).sum())
    for lost in _twice_below(negatives, positives):
        won = 2 * (num_positives - below[0]) - lost
        counts.negative_squares += float(np.square(won / (2.0 * num_positives)).sum())
    return counts


def _twice_below(queries: Scores, values: Scores) -> Iterator[NDArray[np.int64]]:
    """For chunks of the sorted queries: twice the number of values below, plus the number equal."""
    for start in range(0, len(queries), CHUNK):
        chunk = queries[start : start + CHUNK]
        yield np.searchsorted(values, chunk, "left") + np.searchsorted(values, chunk, "right")


def shares_won(scores: Scores, is_positive: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of its pairs that each positive wins, and that each negative loses, in the order of the rows."""
    positives, negatives = scores[is_positive], scores[~is_positive]
    sorted_positives, sorted_negatives = np.sort(positives), np.sort(negatives)
    wins = np.concatenate([*_twice_below(positives, sorted_negatives), np.empty(0, np.int64)])
    losses = np.concatenate([*_twice_below(negatives, sorted_positives), np.empty(0, np.int64)])
    return wins / (2.0 * len(negatives)), 1.0 - losses / (2.0 * len(positives))
