"""Area under the precision-recall curve, what each row moves it by, and the points of the ROC curve."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import checked_labels, checked_scores, checked_weights, require_both_labels

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Thresholds:
    """Rows at or above every distinct score, best first, T of them.

    Args:
        true: [T] weight of the positives at or above.
        false: [T] weight of the negatives at or above.
        place: [N] threshold at which each row enters; rows that tie enter together.
    """

    true: Values
    false: Values
    place: NDArray[np.int64]

    @property
    def precision(self) -> Values:
        """Share of positives, [T]."""
        return self.true / (self.true + self.false)

    @property
    def gains(self) -> Values:
        """Weight of the positives that enter, [T]."""
        return np.diff(self.true, prepend=0.0)

    @property
    def average_precision(self) -> float:
        """Precision, on average over the positives."""
        return float((self.gains * self.precision).sum() / self.true[-1])


def thresholds(is_positive: NDArray[np.bool_], scores: NDArray[np.floating], weights: Values | None) -> Thresholds:
    """Cumulate checked rows of both labels, whose weights are above 0."""
    order = np.argsort(scores)[::-1]
    ordered = scores[order]
    is_new = np.concatenate([[True], ordered[1:] != ordered[:-1]])
    ends = np.append(np.flatnonzero(is_new)[1:], len(ordered)) - 1
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.cumsum(is_new) - 1
    w = np.ones(len(order)) if weights is None else weights[order]
    true, false = (np.cumsum(w * mask[order])[ends] for mask in (is_positive, ~is_positive))
    return Thresholds(true, false, place)


@typed
def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """PR-AUC as the sum over thresholds of precision x gain in recall; rows that tie enter together.

    Shape:
        labels [N] of 0 and 1, scores [N], weights [N] at least 0.

    Raises:
        ValueError: on NaN scores, other labels, negative weights, or when only one label occurs.
    """
    return _checked(labels, scores, weights).average_precision


def average_precision_influence(found: Thresholds, is_positive: NDArray[np.bool_]) -> Values:
    """Derivative of the average precision by the weight of each row, [N].

    A row moves the precision at every threshold that it is above, those of lower scores included.
    """
    reached = found.true + found.false
    per_positive, per_row = (
        np.cumsum((found.gains * factor / reached)[::-1])[::-1] for factor in (1.0, found.precision)
    )
    own = found.precision - found.average_precision + per_positive
    return (np.where(is_positive, own[found.place], 0.0) - per_row[found.place]) / found.true[-1]


@typed
def roc_points(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, num_points: int = 400) -> Values:
    """Points (false positive rate, true positive rate) of the ROC curve, [at most num_points + 1, 2], from (0, 0).

    Raises:
        ValueError: as `average_precision`, or if num_points is below 1.
    """
    if num_points < 1:
        raise ValueError(f"roc_points: num_points must be at least 1, got {num_points}.")
    found = _checked(labels, scores, weights)
    true, false = found.true, found.false
    if num_points < len(true):
        wanted = np.linspace(0, true[-1] + false[-1], num_points)
        picks = np.unique(np.searchsorted(true + false, wanted).clip(max=len(true) - 1))
    else:
        picks = np.arange(len(true))
    points = np.stack([false[picks] / false[-1], true[picks] / true[-1]], axis=1)
    return np.concatenate([np.zeros((1, 2)), points])


def _checked(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None) -> Thresholds:
    is_positive = checked_labels(labels)
    values = checked_scores(scores, len(is_positive))
    checked = checked_weights(weights, len(is_positive))
    require_both_labels(is_positive, checked)
    if checked is None:
        return thresholds(is_positive, values, None)
    kept = checked > 0
    return thresholds(is_positive[kept], values[kept], checked[kept])
