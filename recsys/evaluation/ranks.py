"""Mann-Whitney counts of sorted scores: what AUC, its variance and its intervals are made of.

Every pair of a positive and a negative row counts 2 if the positive scores above, 1 if they tie, times the weights of
both. Without weights, and with whole ones, all counting is in integers and the only rounding is that of the last
division.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

CHUNK = 1 << 22  # rows whose counts are in memory at a time

Scores = NDArray[np.floating]
Weights = NDArray[np.int64] | NDArray[np.float64]


@dataclass
class PairCounts:
    """Sums over pairs of a positive and a negative row, a row counting as often as its weight says.

    Args:
        num_positives: rows with label 1, or their weight.
        num_negatives: rows with label 0, or their weight.
        twice_wins: 2 for each pair that the positive wins, 1 for each tie.
        positive_squares: sum over positives of the square of their share of pairs won, in [0, 1] each.
        negative_squares: sum over negatives of the square of the share of pairs won by the positive.
    """

    num_positives: float = 0
    num_negatives: float = 0
    twice_wins: float = 0
    positive_squares: float = 0.0
    negative_squares: float = 0.0

    @property
    def auc(self) -> float:
        """Probability that a positive scores above a negative, a tie counting one half; NaN without rows of both."""
        pairs = 2 * self.num_positives * self.num_negatives
        return self.twice_wins / pairs if pairs else float("nan")

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


@dataclass(frozen=True)
class Sorted:
    """Rows of one label by rising score.

    Args:
        scores: [N] ascending; anything that compares as the scores do.
        below: [N + 1] weight of the rows before each place; None where every row weighs 1.
    """

    scores: NDArray[np.generic]
    below: Weights | None = None

    @classmethod
    def of(cls, scores: NDArray[np.generic], weights: Weights | None = None) -> Sorted:
        """Sort a copy."""
        if weights is None:
            return cls(np.sort(scores))
        order = np.argsort(scores)
        below = np.concatenate([np.zeros(1, weights.dtype), np.cumsum(weights[order])])
        return cls(scores[order], below)

    @property
    def total(self) -> float:
        """Weight of all rows."""
        return len(self.scores) if self.below is None else self.below[-1].item()

    def twice_below(self, queries: NDArray[np.generic]) -> Weights:
        """For each query twice the weight of the rows below, plus that of the rows equal."""
        left, right = (np.searchsorted(self.scores, queries, side) for side in ("left", "right"))
        return left + right if self.below is None else self.below[left] + self.below[right]

    def chunks(self) -> Iterator[tuple[NDArray[np.generic], Weights | int]]:
        """Scores and weights, a bounded number at a time."""
        for start in range(0, len(self.scores), CHUNK):
            stop = start + CHUNK
            yield self.scores[start:stop], 1 if self.below is None else np.diff(self.below[start : stop + 1])


def pair_counts(is_positive: NDArray[np.bool_], scores: Scores, weights: Weights | None = None) -> PairCounts:
    """Counts of all pairs of checked rows; weights are those that `countable` gives."""
    return count_pairs(*_sides(is_positive, scores, weights))


def count_pairs(
    positives: Sorted, negatives: Sorted, below: tuple[float, float] = (0, 0), totals: tuple[float, float] | None = None
) -> PairCounts:
    """Count the pairs of sorted rows.

    Args:
        positives: rows of label 1.
        negatives: rows of label 0.
        below: weight of further positives and negatives that lie below all of these.
        totals: of positives and negatives in all, where these are a part; the shares refer to them.
    """
    num_positives, num_negatives = totals or (positives.total, negatives.total)
    counts = PairCounts(positives.total, negatives.total)
    if not num_positives or not num_negatives:
        return counts
    for scores, weights in positives.chunks():
        won = negatives.twice_below(scores) + 2 * below[1]
        counts.twice_wins += (weights * won).sum().item()
        counts.positive_squares += float((weights * np.square(won / (2.0 * num_negatives))).sum())
    for scores, weights in negatives.chunks():
        won = 2 * (num_positives - below[0]) - positives.twice_below(scores)
        counts.negative_squares += float((weights * np.square(won / (2.0 * num_positives))).sum())
    return counts


def shares_won(
    is_positive: NDArray[np.bool_], scores: Scores, weights: Weights | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Share of its pairs that each positive wins, and that each negative loses, in the order of the rows."""
    positives, negatives = _sides(is_positive, scores, weights)
    wins = negatives.twice_below(scores[is_positive]) / (2.0 * negatives.total)
    losses = 1.0 - positives.twice_below(scores[~is_positive]) / (2.0 * positives.total)
    return wins, losses


def _sides(is_positive: NDArray[np.bool_], scores: Scores, weights: Weights | None) -> tuple[Sorted, Sorted]:
    """Positives and negatives."""
    positives, negatives = (
        Sorted.of(scores[mask], None if weights is None else weights[mask]) for mask in (is_positive, ~is_positive)
    )
    return positives, negatives
