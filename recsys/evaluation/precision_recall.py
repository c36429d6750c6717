"""Area under the precision-recall curve, and the points of both curves."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_scores, checked_weights, require_both_labels


def average_precision(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None) -> float:
    """PR-AUC as the sum over thresholds of precision x gain in recall; rows that tie enter together.

    Shape:
        labels [N] of 0 and 1, scores [N], weights [N] at least 0.

    Raises:
        ValueError: on NaN scores, other labels, negative weights, or when only one label occurs.
    """
    true, false = _cumulated(labels, scores, weights)
    gains = np.diff(true, prepend=0.0)
    risen = gains > 0
    return float((gains[risen] * true[risen] / (true + false)[risen]).sum() / true[-1])


def roc_points(labels: ArrayLike, scores: ArrayLike, num_points: int = 400) -> NDArray[np.float64]:
    """Points (false positive rate, true positive rate) of the ROC curve, [at most num_points + 1, 2], from (0, 0).

    Raises:
        ValueError: as `average_precision`.
    """
    true, false = _cumulated(labels, scores, None)
    wanted = np.linspace(0, true[-1] + false[-1], num_points)
    picks = np.unique(np.searchsorted(true + false, wanted).clip(max=len(true) - 1))
    points = np.stack([false[picks] / false[-1], true[picks] / true[-1]], axis=1)
    return np.concatenate([np.zeros((1, 2)), points])


def _cumulated(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Weight of the positives and negatives at or above every distinct score, best first."""
    is_positive, values = checked_labels(labels), checked_scores(scores)
    require_both_labels(is_positive)
    order = np.argsort(values)[::-1]
    values = values[order]
    ends = np.flatnonzero(np.concatenate([values[1:] != values[:-1], [True]]))
    w = np.ones(len(values)) if weights is None else checked_weights(weights, len(values))[order]
    total, true = np.cumsum(w)[ends], np.cumsum(w * is_positive[order])[ends]
    if not 0 < true[-1] < total[-1]:
        raise ValueError("weights: the rows of one label weigh 0 in all.")
    return true, total - true
