"""Metrics that follow from sums over rows: log loss, normalised entropy, RMSE, calibration.

Because sums are all they need, a bootstrap resamples the sums of whole groups of rows, and slices, files larger than
memory and processes add theirs up.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.evaluation.checks import checked_labels, checked_probabilities, checked_weights

Sums = NDArray[np.float64]
"""[..., 5]: weight, weight x label, weight x probability, weight x log loss, weight x squared error."""


def row_sums(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> Sums:
    """What each row adds to the sums, [N, 5].

    Raises:
        ValueError: on labels other than 0 and 1, scores outside [0, 1] or negative weights.
    """
    is_positive, p = checked_labels(labels), checked_probabilities(probabilities)
    w = np.ones(len(p)) if weights is None else checked_weights(weights, len(p))
    with np.errstate(divide="ignore"):
        loss = -np.where(is_positive, np.log(p), np.log1p(-p))
    # A weight of 0 silences even an infinite loss.
    loss = np.where(w > 0, loss, 0.0)
    return np.stack([w, w * is_positive, w * p, w * loss, w * np.square(p - is_positive)], axis=1)


def mean_metrics(sums: Sums) -> dict[str, NDArray[np.float64]]:
    """Metrics of sums [..., 5], each [...].

    Returns:
        log_loss (nats a row; infinite if a probability of exactly 0 or 1 is wrong), normalised_entropy (log loss over
        that of the mean label; He et al., 2014), rmse, calibration (mean probability over mean label) and label_rate;
        NaN where the rows do not define one.
    """
    weight, positive, predicted, loss, squares = np.moveaxis(np.asarray(sums, dtype=np.float64), -1, 0)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        rate = positive / weight
        entropy = -(rate * np.log(rate) + (1 - rate) * np.log1p(-rate))
        log_loss = loss / weight
        return {
            "log_loss": log_loss,
            "normalised_entropy": np.where((rate > 0) & (rate < 1), log_loss / entropy, np.nan),
            "rmse": np.sqrt(squares / weight),
            "calibration": np.where(rate > 0, predicted / positive, np.nan),
            "label_rate": rate,
        }


def log_loss(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Mean binary cross-entropy in nats; infinite if a probability of exactly 0 or 1 is wrong.

    Raises:
        ValueError: on labels other than 0 and 1, scores outside [0, 1] or negative weights.
    """
    return float(mean_metrics(row_sums(labels, probabilities, weights).sum(0))["log_loss"])


def rmse(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Root mean squared error of the probabilities.

    Raises:
        ValueError: on labels other than 0 and 1, scores outside [0, 1] or negative weights.
    """
    return float(mean_metrics(row_sums(labels, probabilities, weights).sum(0))["rmse"])


def normalised_entropy(labels: ArrayLike, probabilities: ArrayLike, weights: ArrayLike | None = None) -> float:
    """Log loss over that of always predicting the mean label (He et al., 2014, section 3); NaN with one label only.

    Raises:
        ValueError: on labels other than 0 and 1, scores outside [0, 1] or negative weights.
    """
    return float(mean_metrics(row_sums(labels, probabilities, weights).sum(0))["normalised_entropy"])
