"""Reliability: do events predicted with probability p happen with frequency p?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_probabilities, checked_weights


@dataclass(frozen=True)
class Reliability:
    """Bins of rows with similar predictions.

    Args:
        predicted: [K] mean probability of each bin.
        observed: [K] mean label.
        weight: [K] rows, or the sum of their weights.
    """

    predicted: NDArray[np.float64]
    observed: NDArray[np.float64]
    weight: NDArray[np.float64]

    @property
    def expected_calibration_error(self) -> float:
        """Mean over the rows of |predicted - observed| of their bins (Naeini et al., 2015)."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.weight))


def reliability(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, num_bins: int = 20
) -> Reliability:
    """Bins with equally many rows each, by rising probability; rows that tie share a bin.

    Equal counts, not equal widths: click rates lie close to 0, where equal widths put all rows into one bin.

    Shape:
        labels [N] of 0 and 1, probabilities [N] in [0, 1], weights [N] at least 0.

    Raises:
        ValueError: on other values, or if num_bins is below 1.
    """
    if num_bins < 1:
        raise ValueError(f"num_bins must be at least 1, got {num_bins}.")
    is_positive, p = checked_labels(labels), checked_probabilities(probabilities)
    w = np.ones(len(p)) if weights is None else checked_weights(weights, len(p))
    bins = bins_of(p, num_bins)
    weight = np.bincount(bins, w).astype(np.float64)
    used = weight > 0
    if not used.any():
        raise ValueError("weights: all rows weigh 0.")
    predicted, observed = np.bincount(bins, w * p), np.bincount(bins, w * is_positive)
    return Reliability(predicted[used] / weight[used], observed[used] / weight[used], weight[used])


def bins_of(probabilities: NDArray[np.float64], num_bins: int = 20) -> NDArray[np.int64]:
    """Bin of each row [N]: equally many rows each, by rising probability, ties together."""
    inner = np.quantile(probabilities, np.linspace(0, 1, num_bins + 1)[1:-1], method="lower")
    return np.searchsorted(np.unique(inner), probabilities, "right")
