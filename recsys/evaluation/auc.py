"""Area under the ROC curve: exact, with DeLong's interval, and the paired comparison of two models."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import (
    checked_groups,
    checked_labels,
    checked_scores,
    checked_weights,
    counted,
    require_both_labels,
)
from recsys.evaluation.clustered_auc import clustered_variance
from recsys.evaluation.intervals import SHARE, Comparison, Interval, are_whole, comparison, interval
from recsys.evaluation.numbering import Codes
from recsys.evaluation.ranks import PairCounts, Weights, pair_counts, shares_won

Flags = NDArray[np.bool_]
Scores = NDArray[np.floating]


@typed
def auc(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Probability that a row with label 1 scores above one with label 0, ties counting one half.

    Without weights, and with whole ones, it is counted in integers and exact; O(N log N). A pair counts the product of
    its weights.

    Shape:
        labels [N] of 0 and 1, scores [N], weights [N] at least 0.

    Raises:
        ValueError: on NaN scores, other labels, negative weights, or when only one label occurs.
    """
    rows = _checked(labels, [scores], weights)
    return pair_counts(rows.is_positive, rows.scores[0], rows.weights).auc


@typed
def auc_interval(
    labels: ArrayLike,
    scores: ArrayLike,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Interval:
    """AUC with DeLong's interval (DeLong et al., 1988; on logits, so that the bounds stay in [0, 1]).

    Rows count as independent; with groups, only rows of different groups do (Obuchowski, 1997). Weight 2 is a row
    twice; weights that are not whole need groups, else the bounds are NaN.

    Shape:
        labels [N] of 0 and 1, scores [N], groups [N] of anything that can be told apart, weights [N] at least 0.

    Raises:
        ValueError: as `auc`, if confidence is not in (0, 1), or if there is not a group for every row.
    """
    rows = _checked(labels, [scores], weights, groups)
    counts = pair_counts(rows.is_positive, rows.scores[0], rows.weights)
    if rows.groups is None:
        return interval_of(counts, confidence, are_whole(rows.weights))
    shares = shares_won(rows.is_positive, rows.scores[0], rows.weights)
    variance, num_groups = clustered_variance(*shares, rows.is_positive, rows.groups, rows.weights)
    return interval(counts.auc, math.sqrt(variance), confidence, SHARE, num_groups)


def interval_of(counts: PairCounts, confidence: float = 0.95, are_counted: bool = True) -> Interval:
    """The interval that the counts of all pairs give; NaN bounds with fewer than two rows of a label."""
    return interval(counts.auc, math.sqrt(counts.variance) if are_counted else math.nan, confidence, SHARE)


@typed
def compare_auc(
    labels: ArrayLike,
    first: ArrayLike,
    second: ArrayLike,
    confidence: float = 0.95,
    groups: ArrayLike | None = None,
    weights: ArrayLike | None = None,
) -> Comparison:
    """Difference of the AUCs of two models on the same rows, by DeLong's test for paired scores.

    Rows, groups and weights count as in `auc_interval`.

    Shape:
        labels [N] of 0 and 1, first and second [N] scores, row by row, groups [N] of anything that can be told apart,
        weights [N] at least 0.

    Raises:
        ValueError: as `auc_interval`.
    """
    rows = _checked(labels, [first, second], weights, groups)
    first_area, second_area = (pair_counts(rows.is_positive, scores, rows.weights).auc for scores in rows.scores)
    one, two = (shares_won(rows.is_positive, scores, rows.weights) for scores in rows.scores)
    won, lost = two[0] - one[0], two[1] - one[1]
    if rows.groups is not None:
        variance, num_groups = clustered_variance(won, lost, rows.is_positive, rows.groups, rows.weights)
        return comparison(first_area, second_area, math.sqrt(variance), confidence, num_groups)
    variance = sum(
        _variance_of_mean(shares, None if rows.weights is None else rows.weights[mask])
        for shares, mask in ((won, rows.is_positive), (lost, ~rows.is_positive))
    )
    return comparison(first_area, second_area, math.sqrt(variance), confidence)


def _variance_of_mean(shares: NDArray[np.float64], weights: Weights | None) -> float:
    """Of shares that each occur as often as their weight says; NaN where weights are no counts, or there is one."""
    counts = np.ones(len(shares)) if weights is None else weights
    number = counts.sum()
    if number < 2 or not are_whole(weights):
        return math.nan
    return float((counts * np.square(shares - np.average(shares, weights=counts))).sum() / number / (number - 1))


@dataclass(frozen=True)
class _Rows:
    """Checked rows that weigh something; weights as they count pairs."""

    is_positive: Flags
    scores: list[Scores]
    weights: Weights | None
    groups: Codes | None


def _checked(
    labels: ArrayLike, scores: Sequence[ArrayLike], weights: ArrayLike | None, groups: ArrayLike | None = None
) -> _Rows:
    is_positive = checked_labels(labels)
    num_rows = len(is_positive)
    values = [checked_scores(each, num_rows) for each in scores]
    checked, codes = checked_weights(weights, num_rows), checked_groups(groups, num_rows)
    require_both_labels(is_positive, checked)
    if checked is None or checked.all():
        return _Rows(is_positive, values, counted(checked), codes)
    kept = checked > 0
    return _Rows(
        is_positive[kept],
        [each[kept] for each in values],
        counted(checked[kept]),
        None if codes is None else codes[kept],
    )
