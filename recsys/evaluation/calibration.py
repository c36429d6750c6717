"""Reliability: do events predicted with probability p happen with frequency p?"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import checked_groups, checked_labels, checked_probabilities, checked_weights
from recsys.evaluation.intervals import Interval, are_whole, around, quantile
from recsys.evaluation.numbering import Codes

Values = NDArray[np.float64]

NUM_BINS = 20
_ROUNDING = 1e-9
_NUM_DRAWS = 10_000
_MOST_BINS = 1 << 20
_MOST_CELLS = 1 << 27  # groups x bins, 1 GiB


@dataclass(frozen=True)
class Reliability:
    """Bins of rows with similar predictions.

    Args:
        predicted: [K] mean probability of each bin.
        observed: [K] mean label.
        weight: [K] rows, or the sum of their weights.
    """

    predicted: Values
    observed: Values
    weight: Values

    @property
    def expected_calibration_error(self) -> float:
        """Mean over the rows of |predicted - observed| of their bins (Naeini et al., 2015)."""
        return float(np.average(np.abs(self.predicted - self.observed), weights=self.weight))


@typed
def reliability(
    labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None, num_bins: int = NUM_BINS
) -> Reliability:
    """Bins with equally many rows each, by rising probability; rows that tie share a bin.

    Equal counts, not equal widths: click rates lie close to 0, where equal widths put all rows into one bin. With
    weights, equal weights.

    Shape:
        labels [N] of 0 and 1, probabilities [N] in [0, 1], weights [N] at least 0.

    Raises:
        ValueError: on other values, or if num_bins is below 1 or above 2**20.
    """
    if not 1 <= num_bins <= _MOST_BINS:
        raise ValueError(f"num_bins must be in [1, {_MOST_BINS}], got {num_bins}.")
    is_positive = checked_labels(labels)
    p = checked_probabilities(probabilities, len(is_positive)).astype(np.float64)
    w = checked_weights(weights, len(p))
    w = np.ones(len(p)) if w is None else w
    bins = bins_of(p, w, num_bins)
    weight = np.bincount(bins, w).astype(np.float64)
    used = weight > 0
    predicted, observed = np.bincount(bins, w * p), np.bincount(bins, w * is_positive)
    return Reliability(predicted[used] / weight[used], observed[used] / weight[used], weight[used])


def bins_of(probabilities: Values, weights: Values | None = None, num_bins: int = NUM_BINS) -> NDArray[np.int64]:
    """Bin of each row [N]: equal weights each, by rising probability, ties together."""
    return np.searchsorted(equal_parts(probabilities, weights, num_bins)[1:], probabilities, "right").astype(np.int64)


def equal_parts(values: NDArray[np.generic], weights: Values | None, num_parts: int) -> NDArray[np.generic]:
    """Where parts of equal weight begin, by rising value: at most num_parts distinct values, the least one first."""
    order = np.argsort(values, kind="stable")
    below = np.arange(1, len(values) + 1) if weights is None else np.cumsum(weights[order])
    # A part begins behind a row that ends just there, whatever rounding does to the sums.
    wanted = below[-1] * (np.arange(num_parts) / num_parts + _ROUNDING)
    return np.unique(values[order[np.searchsorted(below, wanted, "right")]])


@typed
def calibration_error(
    labels: ArrayLike,
    probabilities: ArrayLike,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """Expected calibration error of 20 bins of equal counts, with an interval of what more rows would make of it.

    Noise makes every bin differ from its prediction, so the error of few rows is above that of many, and the most of
    all for a calibrated model, whose error falls to 0. With the bins' errors normal and as far from their expectations
    as e, the error is too high by at most the sum of |e|, whose quantile reaches down to the lower bound (0 for a
    calibrated model), and too low by at most the sum of e with some signs, which reaches up to the upper one.

    Rows, groups and weights count as in `auc_interval`.

    Shape:
        labels [N] of 0 and 1, probabilities [N] in [0, 1], groups [N], weights [N] at least 0.

    Raises:
        ValueError: on other values, or if confidence is not in (0, 1).
    """
    is_positive = checked_labels(labels)
    p = checked_probabilities(probabilities, len(is_positive)).astype(np.float64)
    w, codes = checked_weights(weights, len(p)), checked_groups(groups, len(p))
    bins = bins_of(p, w)
    value, covariance, num_draws = _errors(p, p - is_positive, bins, w, codes)
    reach = quantile(confidence, num_draws)
    upper = reach * math.sqrt(np.abs(covariance).sum())
    if not 0 < upper < math.inf:
        return Interval(value, math.nan, math.nan)
    # Where deviations are estimated from few draws, the quantile is as much wider as Student's is than the normal one.
    lower = _quantile_of_absolutes(covariance, (1 + confidence) / 2) * reach / quantile(confidence)
    return around(value, max(0.0, value - lower), min(1.0, value + upper))


def _errors(
    p: Values, errors: Values, bins: NDArray[np.int64], weights: Values | None, groups: Codes | None
) -> tuple[float, Values, float]:
    """Sum of the bins' absolute errors, the covariance [K, K] of the errors, and how many draws they rest on."""
    w = np.ones(len(p)) if weights is None else weights
    total, num_bins = float(w.sum()), int(bins.max()) + 1
    excess = np.bincount(bins, w * errors, num_bins)
    value, unknown = float(np.abs(excess).sum()) / total, np.full((num_bins, num_bins), np.nan)
    if groups is None:
        # Rows that are all negative look more certain than they are: no less than if the predictions were right.
        squares = np.bincount(bins, w * np.maximum(np.square(errors), p * (1 - p)), num_bins)
        covariance = (np.diag(squares) - np.outer(excess, excess) / total) / total**2
        num_draws, known = total, are_whole(weights)
    else:
        num_draws = float(np.count_nonzero(np.bincount(groups)))
        known = (int(groups.max()) + 1) * num_bins <= _MOST_CELLS
        sums = _sums_of_groups(w, errors, bins, groups, excess / total) / total if known else unknown
        covariance = sums.T @ sums
    if not known or num_draws < 2:
        return value, unknown, num_draws
    return value, covariance * num_draws / (num_draws - 1), num_draws


def _sums_of_groups(weights: Values, errors: Values, bins: NDArray[np.int64], groups: Codes, mean: Values) -> Values:
    """What each group adds to the bins' errors, less its share of their mean [K]: [G, K]."""
    num_groups, num_bins = int(groups.max()) + 1, len(mean)
    cells = np.bincount(groups * num_bins + bins, weights * errors, num_groups * num_bins)
    return cells.reshape(num_groups, num_bins) - np.outer(np.bincount(groups, weights, num_groups), mean)


def _quantile_of_absolutes(covariance: Values, share: float) -> float:
    """Quantile of the sum of the absolute values of normal numbers with mean 0 and this covariance."""
    values, vectors = np.linalg.eigh(covariance)
    # The one symmetric root: other roots turn with the last bits of the covariance, and the draws with them.
    root = (vectors * np.sqrt(values.clip(min=0))) @ vectors.T
    normal = np.random.default_rng(0).normal(size=(_NUM_DRAWS, len(values)))
    return float(np.quantile(np.abs(normal @ root).sum(1), share))
