"""Metrics of binary predictions, exact over a whole data set and over all processes.

Nothing is averaged over batches or processes: logits are kept, joined and evaluated once, in float64, by the functions
of recsys.evaluation, so that `recsys evaluate` gives the same numbers to the bit. A metric that the data do not define
is NaN: everything without rows, AUC and normalised entropy when all labels are equal, calibration without a positive
label.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from recsys.argument_types import typed
from recsys.evaluation import Rows, gauc
from recsys.evaluation.checks import counted
from recsys.evaluation.means import mean_metrics, row_draws
from recsys.evaluation.ranks import pair_counts
from recsys.sharding.gathering import gather_rows
from recsys.tables.placement import INTEGERS

METRICS = ("auc", "log_loss", "normalised_entropy", "calibration")


class BinaryMetrics:
    """Logits and labels of a data set, with weights and groups if it has them, evaluated once.

    Holds 8 bytes a row on the device of the batches (12 when logits are float64), 4 more for weights and 8 for groups.

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
        self._weights: list[Tensor] = []
        self._groups: list[Tensor] = []

    @typed
    def update(
        self, logits: Tensor, labels: Tensor, weights: Tensor | None = None, groups: Tensor | None = None
    ) -> None:
        """Add a batch, without waiting for the device.

        Shape:
            logits [B] of any float type, labels [B] of any real type, each 0 or 1, weights [B] at least 0, groups [B]
            of whole numbers; all batches have weights, or none, and so with groups

        Raises:
            ValueError: the shapes differ or are not [B], logits are no floats, groups no whole numbers, or there are no
                values.
        """
        if not logits.is_floating_point():
            raise ValueError(f"scores must be floats, got {logits.dtype}.")
        if groups is not None and groups.dtype not in INTEGERS:
            raise ValueError(f"groups must be whole numbers, got {groups.dtype}.")
        _check_values("scores", logits)
        for name, values in (("labels", labels), ("weights", weights), ("groups", groups)):
            if values is None:
                continue
            _check_values(name, values)
            if logits.ndim != 1 or values.shape != logits.shape:
                raise ValueError(
                    f"scores and {name} must have the same shape [N], got {list(logits.shape)} and "
                    f"{list(values.shape)}."
                )
        # Copies, because a caller may reuse the memory of its batch.
        logits_dtype = torch.promote_types(logits.dtype, torch.float32)
        self._logits.append(logits.detach().to(logits_dtype, copy=True))
        self._labels.append(labels.detach().to(torch.float32, copy=True))
        if weights is not None:
            self._weights.append(weights.detach().to(torch.float32, copy=True))
        if groups is not None:
            self._groups.append(groups.detach().to(torch.int64, copy=True))

    def compute(self) -> dict[str, float]:
        """Every metric over the rows of all processes; each process must call this, and gets the same values.

        Returns:
            auc, log_loss (nats), normalised_entropy, calibration (mean prediction / mean label) and num_samples; gauc
            if there are groups. A row counts as often as its weight says.

        Raises:
            ValueError: a logit is NaN, a label is neither 0 nor 1, or a weight is negative or not finite.
        """
        rows, groups = self._rows(), _joined(self._groups, torch.int64)
        if groups is not None and len(groups) != len(rows):
            raise ValueError("groups: some batches have them and some do not.")
        return metrics_of(rows, groups) | {"num_samples": float(len(rows))}

    def _rows(self) -> Rows:
        logits, labels = (_joined(each, torch.float64) for each in (self._logits, self._labels))
        weights = _joined(self._weights, torch.float64)
        logits, labels = (np.empty(0) if each is None else each for each in (logits, labels))
        _check(logits, labels, weights)
        return Rows(labels == 1, logits, weights, {}, logits=True)


@typed
def metrics_of(rows: Rows, groups: NDArray[np.int64] | None = None) -> dict[str, float]:
    """METRICS of checked rows, and gauc if there are groups; NaN where the rows do not define one."""
    if groups is not None and len(groups) != len(rows):
        raise ValueError(f"groups must be of the {len(rows)} rows, got {len(groups)}.")
    names = METRICS if groups is None else (*METRICS, "gauc")
    if not len(rows) or (rows.weights is not None and not rows.weights.any()):
        return dict.fromkeys(names, math.nan)
    weighing = rows.that_weigh()
    found = mean_metrics(row_draws([weighing]).total)
    found["auc"] = pair_counts(weighing.is_positive, weighing.scores, counted(weighing.weights)).auc
    if groups is not None:
        found["gauc"] = gauc(rows.is_positive, rows.scores, groups, rows.weights).value
    return {name: found[name] for name in names}


def _check_values(name: str, values: Tensor) -> None:
    if values.is_complex() or values.is_nested or values.layout != torch.strided:
        got = "a nested tensor" if values.is_nested else f"{values.dtype}, {values.layout}"
        raise ValueError(f"{name} must be an ordinary tensor of real numbers, got {got}.")


def _check(logits: NDArray[np.float64], labels: NDArray[np.float64], weights: NDArray[np.float64] | None) -> None:
    num_nan = int(np.isnan(logits).sum())
    if num_nan:
        raise ValueError(f"{num_nan} of {len(logits)} scores are NaN; training has diverged, or a feature is NaN.")
    wrong = labels[(labels != 0) & (labels != 1)]
    if len(wrong):
        raise ValueError(f"labels must be 0 or 1, got {wrong[0]} and {len(wrong) - 1} more.")
    if weights is None:
        return
    if len(weights) != len(logits):
        raise ValueError("weights: some batches have them and some do not.")
    wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
    if len(wrong):
        raise ValueError(f"weights must be finite and at least 0, got {wrong[0]} and {len(wrong) - 1} more.")


def _joined(chunks: list[Tensor], dtype: torch.dtype) -> NDArray[Any] | None:
    """Values of all batches and all processes on the CPU; None if no process has any."""
    if not int(gather_rows(torch.tensor([len(chunks)])).sum()):
        return None
    if any(chunk.is_meta for chunk in chunks):
        raise ValueError("BinaryMetrics: batches on 'meta' have no values to compute anything of.")
    values = torch.cat([torch.empty(0, dtype=dtype), *(chunk.cpu().to(dtype) for chunk in chunks)])
    joined: NDArray[Any] = gather_rows(values).numpy()
    return joined
