"""Metrics of binary predictions, exact over a whole data set and over all processes.

Nothing is averaged over batches or ranks: scores are kept, joined and evaluated once, in float64. A metric that the data
do not define is NaN: everything without rows, AUC and normalised entropy when all labels are equal, calibration without a
positive label.
"""

from __future__ import annotations

import math

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


class BinaryMetrics:
    """Logits and labels of a data set, gathered batch by batch and evaluated once.

    Holds 5 bytes per row for logits up to float32 (9 for float64) on the device of the batches.

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
        """Add a batch; does not wait for the device.

        Shape:
            logits [B] of any float type, labels [B], 0 or 1, of any type.

        Raises:
            ValueError: the shapes differ or are not [B].
        """
        _check_shapes(logits, labels)
        # An integer or boolean copy of the labels would hide a NaN or 0.5 from the check in compute.
        half_labels = labels.detach().to(torch.float16)
        exact = half_labels == labels.detach()
        self._labels.append(torch.where(exact & ((half_labels == 0) | (half_labels == 1)), half_labels, 2).to(torch.uint8))
        self._logits.append(logits.detach().to(torch.promote_types(logits.dtype, torch.float32), copy=True))

    def compute(self) -> dict[str, float]:
        """All metrics over the rows of all processes; every process must call this, and gets the same values.

        Returns:
            auc, log_loss (nats), normalised_entropy, calibration (mean prediction / mean label), num_samples.

        Raises:
            ValueError: a logit is NaN, or a label is neither 0 nor 1.
        """
        logits = _gather(torch.cat([torch.empty(0), *(chunk.cpu() for chunk in self._logits)]).double())
        labels = _gather(torch.cat([torch.empty(0, dtype=torch.uint8), *(chunk.cpu() for chunk in self._labels)]))
        return {
            "auc": auc(logits, labels),
            "log_loss": log_loss(logits, labels),
            "normalised_entropy": normalised_entropy(logits, labels),
            "calibration": calibration_ratio(logits, labels),
            "num_samples": float(len(labels)),
        }
