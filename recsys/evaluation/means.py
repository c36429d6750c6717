"""Metrics that follow from sums over rows: log loss, normalised entropy, RMSE, calibration.

Because sums are all they need, slices, files larger than memory and processes add theirs up, and the derivatives by the
sums give every interval (see intervals).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from recsys.argument_types import typed
from recsys.evaluation.checks import checked_labels, checked_probabilities, checked_scores, checked_weights
from recsys.evaluation.files import Rows
from recsys.evaluation.intervals import (
    POSITIVE,
    SHARE,
    Chunk,
    Comparison,
    Draws,
    Interval,
    comparison,
    draws_of_chunks,
    interval,
)
from recsys.evaluation.numbering import Codes

Values = NDArray[np.float64]
Labels = NDArray[np.bool_]
Scores = NDArray[np.floating]

SCALES = {
    "log_loss": POSITIVE,
    "normalised_entropy": POSITIVE,
    "rmse": SHARE,
    "calibration": POSITIVE,
    "label_rate": SHARE,
}
_CHUNK = 1 << 21
_FURTHEST = 1e100
"""A logit from 0: the loss of one, times a weight, is far from the largest float64."""


def probabilities(scores: Scores, logits: bool) -> Values:
    """Scores as probabilities in float64."""
    values = scores.astype(np.float64)
    if not logits:
        return values
    with np.errstate(over="ignore"):
        return 1 / (1 + np.exp(-values))


def row_values(is_positive: Labels, scores: Scores, logits: bool) -> Values:
    """What each checked row adds to the sums, [N, 5]: 1, label, probability, log loss and squared error.

    Of logits the loss is computed as it is, without the probabilities, which round to 0 and 1.

    Raises:
        ValueError: if a finite logit is so far from 0 that losses cannot be added up.
    """
    p = probabilities(scores, logits)
    if logits:
        z = scores.astype(np.float64)
        far = np.isfinite(z) & (np.abs(z) > _FURTHEST)
        if far.any():
            raise ValueError(f"scores: logits must be within {_FURTHEST:g} of 0, or infinite, got {z[far][0]:g}.")
        loss = np.logaddexp(0.0, np.where(is_positive, -z, z))
    else:
        with np.errstate(divide="ignore"):
            loss = np.abs(np.where(is_positive, np.log(p), np.log1p(-p)))
    return np.stack([np.ones(len(p)), is_positive, p, loss, np.square(p - is_positive)], axis=1)


def mean_metrics(sums: Values) -> dict[str, float]:
    """Metrics of sums [5] of rows, times their weights.

    Returns:
        log_loss (nats a row; infinite if a probability of exactly 0 or 1 is wrong), normalised_entropy (log loss over
        that of the mean label; He et al., 2014), rmse, calibration (mean probability over mean label) and label_rate;
        NaN where the rows do not define one.
    """
    weight, positive, predicted, loss, squares = (float(value) for value in sums)
    if not weight > 0:
        return dict.fromkeys(SCALES, math.nan)
    rate = positive / weight
    return {
        "log_loss": loss / weight,
        "normalised_entropy": loss / weight / _entropy(rate) if 0 < rate < 1 else math.nan,
        "rmse": math.sqrt(squares / weight),
        "calibration": predicted / positive if rate > 0 else math.nan,
        "label_rate": rate,
    }


def gradients(sums: Values) -> Values:
    """Derivatives of the metrics by the sums, [5, metrics]; NaN where a metric is not defined or not smooth."""
    weight, positive, predicted, loss, _ = (float(value) for value in sums)
    rate, mean_loss, error = positive / weight, loss / weight, mean_metrics(sums)["rmse"]
    found = dict.fromkeys(SCALES, np.full(5, math.nan))
    found["log_loss"] = np.array([-mean_loss, 0, 0, 1, 0]) / weight
    found["label_rate"] = np.array([-rate, 1, 0, 0, 0]) / weight
    if 0 < rate < 1:
        entropy, slope = _entropy(rate), math.log1p(-rate) - math.log(rate)
        with np.errstate(invalid="ignore"):  # of an infinite loss
            of_entropy = mean_loss / entropy * slope * found["label_rate"]
            found["normalised_entropy"] = (found["log_loss"] - of_entropy) / entropy
    if error > 0:
        found["rmse"] = np.array([-(error**2), 0, 0, 0, 1]) / (2 * error * weight)
    if positive > 0:
        found["calibration"] = np.array([0, -predicted / positive, 1, 0, 0]) / positive
    return np.stack([found[name] for name in SCALES], axis=1)


def mean_intervals(draws: Draws, confidence: float) -> dict[str, Interval]:
    """Every metric of draws of `row_values`, with its interval."""
    total = draws.total
    deviations, number = draws.deviations(gradients(total)), draws.number
    return {
        name: interval(value, float(deviation), confidence, SCALES[name], number)
        for (name, value), deviation in zip(mean_metrics(total).items(), deviations, strict=True)
    }


def compare_means(both: Draws, confidence: float) -> dict[str, Comparison]:
    """Differences of the metrics of two models, from draws of the `row_values` of both, side by side, [n, 10]."""
    one, two = np.split(both.total, 2)
    deviations = both.deviations(np.concatenate([-gradients(one), gradients(two)]))
    first, second, number = mean_metrics(one), mean_metrics(two), both.number
    return {
        name: comparison(first[name], second[name], float(deviation), confidence, number)
        for name, deviation in zip(SCALES, deviations, strict=True)
        if name != "label_rate"
    }


def row_draws(models: Sequence[Rows], groups: Codes | None = None) -> Draws:
    """Draws of the `row_values` of one or several models on the same rows, a bounded number of rows at a time."""
    weights = models[0].weights

    def chunks() -> Iterator[Chunk]:
        for start in range(0, len(models[0]), _CHUNK):
            part = slice(start, start + _CHUNK)
            values = [row_values(rows.is_positive[part], rows.scores[part], rows.logits) for rows in models]
            yield np.concatenate(values, axis=1), None if weights is None else weights[part]

    return draws_of_chunks(chunks, weights, groups)


@typed
def log_loss(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, logits: bool = False) -> float:
    """Mean binary cross-entropy in nats; infinite if a probability of exactly 0 or 1 is wrong.

    Shape:
        labels [N] of 0 and 1, scores [N] probabilities, or logits, weights [N] at least 0.

    Raises:
        ValueError: on labels other than 0 and 1, probabilities outside [0, 1], NaN or negative weights.
    """
    return _metrics(labels, scores, weights, logits)["log_loss"]


@typed
def rmse(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, logits: bool = False) -> float:
    """Root mean squared error of the probabilities.

    Raises:
        ValueError: as `log_loss`.
    """
    return _metrics(labels, scores, weights, logits)["rmse"]


@typed
def normalised_entropy(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, logits: bool = False
) -> float:
    """Log loss over that of always predicting the mean label (He et al., 2014, section 3); NaN with one label only.

    Raises:
        ValueError: as `log_loss`.
    """
    return _metrics(labels, scores, weights, logits)["normalised_entropy"]


@typed
def calibration(
    labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None = None, *, logits: bool = False
) -> float:
    """Mean probability over mean label (He et al., 2014, section 3), 1 on average where calibrated; NaN without a 1.

    Raises:
        ValueError: as `log_loss`.
    """
    return _metrics(labels, scores, weights, logits)["calibration"]


def _metrics(labels: ArrayLike, scores: ArrayLike, weights: ArrayLike | None, logits: bool) -> dict[str, float]:
    is_positive = checked_labels(labels)
    num_rows = len(is_positive)
    values = (checked_scores if logits else checked_probabilities)(scores, num_rows)
    rows = Rows(is_positive, values, checked_weights(weights, num_rows), {}, logits).that_weigh()
    return mean_metrics(row_draws([rows]).total)


def _entropy(rate: float) -> float:
    return -rate * math.log(rate) - (1 - rate) * math.log1p(-rate)
