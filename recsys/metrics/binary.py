"""Metrics of binary predictions, exact over a whole data set and over all processes.

Nothing is averaged over batches or processes: logits are kept, joined and evaluated once, in float64. A metric that the
data do not define is NaN: everything without rows, AUC and normalised entropy when all labels are equal, calibration
without a positive label.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.sharding.gathering import gather_rows


class BinaryMetrics:
    """Logits and labels of a data set, gathered batch by batch and evaluated once.

    Holds 8 bytes a row on the device of the batches (12 when logits are float64).

    Example:
        >>> metrics = BinaryMetrics()
        >>> metrics.update(torch.tensor([2.0, -1.0]), torch.tensor([1, 0]))
        >>> metrics.update(torch.tensor([0.5]), torch.tensor([1]))
        >>> metrics.compute()["auc"]
        1.0
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all rows."""
        self._logits: list[Tensor] = []
        self._labels: list[Tensor] = []

    def update(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch, without waiting for the device.

        Shape:
            logits [B] of any float type, labels [B] of any type, each 0 or 1.

        Raises:
            ValueError: the shapes differ or are not [B].
        """
        _check_shapes(logits, labels)
        # Copies, because a caller may reuse the memory of its batch.
        logits_dtype = torch.promote_types(logits.dtype, torch.float32)
        self._logits.append(logits.detach().to(logits_dtype, copy=True))
        self._labels.append(labels.detach().to(torch.float32, copy=True))

    def compute(self) -> dict[str, float]:
        """Every metric over the rows of all processes; each process must call this, and gets the same values.

        Returns:
            auc, log_loss (nats), normalised_entropy, calibration (mean prediction / mean label) and num_samples.

        Raises:
            ValueError: a logit is NaN, or a label is neither 0 nor 1.
        """
        logits, labels = _join(self._logits), _join(self._labels)
        return {
            "auc": auc(logits, labels),
            "log_loss": log_loss(logits, labels),
            "normalised_entropy": normalised_entropy(logits, labels),
            "calibration": calibration_ratio(logits, labels),
            "num_samples": float(len(labels)),
        }


def auc(scores: Tensor, labels: Tensor) -> float:
    """Probability that a positive row scores above a negative one; a tie counts one half (Mann-Whitney U).

    Counted in integers, so that the only rounding is that of the last division. Any increasing function of the
    probability will do as score; logits lose fewer ties than probabilities.

    Shape:
        scores [N] of any float type, labels [N], each 0 or 1.

    Returns:
        A number in [0, 1]; NaN unless both labels occur.

    Raises:
        ValueError: the shapes differ, a score is NaN, or a label is neither 0 nor 1.
    """
    scores, is_positive = _checked(scores, labels)
    scores, order = scores.sort()
    _, group_lengths = torch.unique_consecutive(scores, return_counts=True)
    positives = _sums_of_groups(is_positive.long()[order], group_lengths)
    negatives = group_lengths - positives
    num_positives, num_negatives = int(positives.sum()), int(negatives.sum())
    if num_positives == 0 or num_negatives == 0:
        return math.nan
    negatives_below = negatives.cumsum(0) - negatives
    twice_u = int((positives * (2 * negatives_below + negatives)).sum())
    return twice_u / (2 * num_positives * num_negatives)


def log_loss(logits: Tensor, labels: Tensor) -> float:
    """Mean binary cross-entropy, in nats a row, from logits and without overflow.

    Shape:
        logits [N] of any float type, labels [N], each 0 or 1.

    Returns:
        A number >= 0, infinite when an infinite logit is wrong; NaN without rows.

    Raises:
        ValueError: the shapes differ, a logit is NaN, or a label is neither 0 nor 1.
    """
    logits, is_positive = _checked(logits, labels)
    return float(-F.logsigmoid(torch.where(is_positive, logits, -logits)).mean())


def normalised_entropy(logits: Tensor, labels: Tensor) -> float:
    """Log loss divided by that of always predicting the mean label (He et al., 2014, section 3).

    Shape:
        logits [N] of any float type, labels [N], each 0 or 1.

    Returns:
        A number >= 0, below 1 when the logits beat the mean label; NaN unless both labels occur.

    Raises:
        ValueError: the shapes differ, a logit is NaN, or a label is neither 0 nor 1.
    """
    loss = log_loss(logits, labels)
    base_rate = float(labels.double().mean())
    if not 0.0 < base_rate < 1.0:
        return math.nan
    entropy = -base_rate * math.log(base_rate) - (1.0 - base_rate) * math.log1p(-base_rate)
    return loss / entropy


def calibration_ratio(logits: Tensor, labels: Tensor) -> float:
    """Mean predicted probability over mean label (He et al., 2014, section 3); 1 is calibrated on average.

    Shape:
        logits [N] of any float type, labels [N], each 0 or 1.

    Returns:
        A number >= 0; NaN without a positive label.

    Raises:
        ValueError: the shapes differ, a logit is NaN, or a label is neither 0 nor 1.
    """
    logits, is_positive = _checked(logits, labels)
    base_rate = float(is_positive.double().mean())
    return float(logits.sigmoid().mean()) / base_rate if base_rate > 0.0 else math.nan


def _sums_of_groups(values: Tensor, lengths: Tensor) -> Tensor:
    """Sum each run of ``lengths`` consecutive values."""
    totals = torch.cat([values.new_zeros(1), values.cumsum(0)])[lengths.cumsum(0)]
    return totals.diff(prepend=totals.new_zeros(1))


def _checked(scores: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in float64, and which rows are positive."""
    _check_shapes(scores, labels)
    scores, is_positive = scores.detach().double(), labels.detach() == 1
    num_nan = int(scores.isnan().sum())
    if num_nan:
        raise ValueError(f"{num_nan} of {len(scores)} scores are NaN; training has diverged, or a feature is NaN.")
    is_wrong = ~(is_positive | (labels == 0))
    if is_wrong.any():
        raise ValueError(f"labels must be 0 or 1, got {labels[is_wrong][0].item()} and {int(is_wrong.sum()) - 1} more.")
    return scores, is_positive


def _check_shapes(scores: Tensor, labels: Tensor) -> None:
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise ValueError(
            f"scores and labels must have the same shape [N], got {list(scores.shape)} and {list(labels.shape)}."
        )


def _join(chunks: list[Tensor]) -> Tensor:
    """Values of all batches and all processes, in float64 on the CPU."""
    return gather_rows(torch.cat([torch.empty(0, dtype=torch.float64), *(chunk.cpu().double() for chunk in chunks)]))
