"""Area under the ROC curve: exact, with DeLong's interval, and the paired comparison of two models."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_scores, checked_weights, require_both_labels
from recsys.evaluation.clustered_auc import clustered_variance
from recsys.evaluation.ranks import PairCounts, count_pairs, shares_won


@dataclass(frozen=True)
class Interval:
    """A value with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """The difference of two models on the same rows, second minus first, with its interval and two-sided p-value."""

    first: float
    second: float
    difference: float
    low: float
    high: float
    p_value: float


def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a row with label 1 scores above one with label 0, ties counting one half.

    Without weights it is counted in integers and exact; O(N log N).

    Shape:
        labels [N] of 0 and 1, scores [N], weights [N] at least 0.

    Raises:
        ValueError: on NaN scores, other labels, negative weights, or when only one label occurs.
    """
    is_positive, values = checked_labels(labels), checked_scores(scores)
    require_both_labels(is_positive)
    if weights is None:
        return pair_counts(is_positive, values).auc
    return _weighted_auc(is_positive, values, checked_weights(weights, len(values)))


def pair_counts(is_positive: NDArray[np.bool_], scores: NDArray[np.floating]) -> PairCounts:
    """Counts of all pairs of checked rows."""
    positives, negatives = scores[is_positive], scores[~is_positive]
    positives.sort()
    negatives.sort()
    return count_pairs(positives, negatives)


def auc_interval(
    labels: ArrayLike, scores: ArrayLike, confidence: float = 0.95, groups: ArrayLike | None = None
) -> Interval:
    """AUC with DeLong's interval (DeLong et al., 1988; on logits, so that the bounds stay in [0, 1]).

    Rows count as independent; with groups, only rows of different groups do (Obuchowski, 1997).

    Shape:
        labels [N] of 0 and 1, scores [N], groups [N] of anything that numpy sorts.

    Raises:
        ValueError: as `auc`, if confidence is not in (0, 1), or if there is not a group for every row.
    """
    is_positive, values = checked_labels(labels), checked_scores(scores)
    require_both_labels(is_positive)
    if groups is None:
        return interval_of(pair_counts(is_positive, values), confidence)
    variance = clustered_variance(*shares_won(values, is_positive), is_positive, _codes(groups, len(values)))
    return _interval(pair_counts(is_positive, values).auc, variance, confidence)


def interval_of(counts: PairCounts, confidence: float = 0.95) -> Interval:
    """The interval that the counts of all pairs give; NaN bounds with fewer than two rows of a label."""
    return _interval(counts.auc, counts.variance, confidence)


def _interval(area: float, variance: float, confidence: float) -> Interval:
    z, deviation = quantile(confidence), float(np.sqrt(variance))
    if not 0 < area < 1:
        bound = area if deviation == 0 else float("nan")
        return Interval(area, bound, bound)
    center, reach = np.log(area / (1 - area)), z * deviation / (area * (1 - area))
    return Interval(area, float(1 / (1 + np.exp(reach - center))), float(1 / (1 + np.exp(-reach - center))))


def _codes(groups: ArrayLike, num_rows: int) -> NDArray[np.int64]:
    """Groups numbered from 0."""
    values = np.asarray(groups)
    if values.shape != (num_rows,):
        raise ValueError(f"groups must have shape [{num_rows}], got {list(values.shape)}.")
    return np.unique(values, return_inverse=True)[1].astype(np.int64)


def compare_auc(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
) -> Comparison:
    """Difference of the AUCs of two models on the same rows, by DeLong's test for paired scores.

    Rows count as independent; with groups, only rows of different groups do (Obuchowski, 1997).

    Shape:
        labels [N] of 0 and 1, first and second [N] scores, row by row, groups [N] of anything that numpy sorts.

    Raises:
        ValueError: as `auc_interval`.
    """
    is_positive = checked_labels(labels)
    require_both_labels(is_positive)
    wins, losses = zip(*(shares_won(checked_scores(s), is_positive) for s in (first, second)), strict=True)
    areas = [float(share.mean()) for share in wins]
    difference = areas[1] - areas[0]
    won, lost = wins[1] - wins[0], losses[1] - losses[0]
    if groups is None:
        variance = sum(float(np.var(each, ddof=1)) / len(each) for each in (won, lost))
    else:
        variance = clustered_variance(won, lost, is_positive, _codes(groups, len(is_positive)))
    return comparison(areas[0], areas[1], difference, float(np.sqrt(variance)), confidence)


def comparison(first: float, second: float, difference: float, deviation: float, confidence: float) -> Comparison:
    """A normal approximation of a difference with a known standard deviation."""
    reach = quantile(confidence) * deviation
    if deviation == 0:
        p_value = 1.0 if difference == 0 else 0.0
    else:  # NaN where the deviation is
        p_value = 2 * NormalDist().cdf(-abs(difference) / deviation)
    return Comparison(first, second, difference, difference - reach, difference + reach, p_value)


def quantile(confidence: float) -> float:
    """Half-width of a normal interval in standard deviations."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be in (0, 1), got {confidence}.")
    return NormalDist().inv_cdf(0.5 + confidence / 2)


def _weighted_auc(is_positive: NDArray[np.bool_], scores: NDArray[np.floating], weights: NDArray[np.float64]) -> float:
    """Pairs count the product of their weights."""
    order = np.argsort(scores)
    scores, positive = scores[order], weights[order] * is_positive[order]
    negative = weights[order] - positive
    starts = np.flatnonzero(np.concatenate([[True], scores[1:] != scores[:-1]]))
    positive, negative = np.add.reduceat(positive, starts), np.add.reduceat(negative, starts)
    pairs = float(positive.sum()) * float(negative.sum())
    if pairs == 0:
        raise ValueError("weights: the rows of one label weigh 0 in all; AUC needs rows of both labels.")
    return float((positive * (np.cumsum(negative) - negative / 2)).sum()) / pairs
