"""How well a model does on labelled batches by the metrics of its task, and two models compared with intervals."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.plugins.precision import HalfPrecision
from numpy.typing import NDArray

from recsys.data import CTRDataModule, SessionBatch, SessionDataModule
from recsys.data.batch import Batch
from recsys.evaluation import Comparison, Rows, auc, compare_auc
from recsys.evaluation.intervals import are_whole, draws_of
from recsys.evaluation.means import compare_means, row_draws
from recsys.evaluation.ranking import rank_gains
from recsys.evaluation.ratios import compare_means as compare_ratios
from recsys.metrics.next_item import ranks_of_targets
from recsys.tasks import CTRTask, NextItemTask

SHOWN = {"auc": "AUC", "log_loss": "log loss", "ndcg@10": "NDCG@10", "hr@10": "HR@10"}
"""Metrics as people read them, by name."""
LESS_IS_BETTER = frozenset({"log_loss"})

Scores = tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float64] | None]
"""Labels and logits of a split, row by row, and weights where the data have them, all above 0."""


class Quality(ABC):
    """Of a task, with the tables that it has at the moment."""

    metrics: ClassVar[tuple[str, ...]]
    """By name; the first one chooses where no other is asked for."""

    fitness_rows: ClassVar[int]
    """Rows of the val split, at most, on which a search for widths compares candidates."""

    @abstractmethod
    def collect(self, batches: Iterable[Any]) -> Any:
        """What the metrics are computed of, from labelled batches."""

    @abstractmethod
    def value(self, collected: Any) -> float:
        """The first of the metrics."""

    @abstractmethod
    def compare(self, first: Any, second: Any, confidence: float = 0.95) -> dict[str, Comparison]:
        """All metrics of what was collected from two models on the same rows, with paired intervals."""

    def of_split(self, data: CTRDataModule | SessionDataModule, split: str) -> Any:
        """What is collected from the val or test split."""
        data.setup({"val": "validate", "test": "test"}[split])
        return self.collect(data.eval_dataloader("val") if split == "val" else data.test_dataloader())


class ClickQuality(Quality):
    """AUC and log loss.

    Args:
        task: scores in evaluation mode.
        bf16: in mixed precision with bfloat16.
    """

    metrics = ("auc", "log_loss")
    fitness_rows = 1 << 17

    def __init__(self, task: CTRTask, bf16: bool = False) -> None:
        self._task, self._bf16 = task, bf16

    @torch.inference_mode()
    def collect(self, batches: Iterable[Batch]) -> Scores:
        """Labels and logits."""
        labels, logits, weights = [], [], []
        for each in batches:
            batch = each.to(self._task.device)
            assert batch.labels is not None
            labels.append(batch.labels.cpu())
            if batch.weights is not None:
                weights.append(batch.weights.cpu())
            with torch.autocast(self._task.device.type, torch.bfloat16, enabled=self._bf16):
                logits.append(self._task(batch).cpu())
        found = torch.cat(labels).numpy(), torch.cat(logits).numpy()
        if not weights:
            return *found, None
        own = torch.cat(weights).double().numpy()
        return found[0][own > 0], found[1][own > 0], own[own > 0]

    def value(self, collected: Scores) -> float:
        """The AUC."""
        return float(auc(*collected))

    def compare(self, first: Scores, second: Scores, confidence: float = 0.95) -> dict[str, Comparison]:
        """See Quality."""
        labels, _, weights = first
        # Weights that are no counts have an interval only where it is said what is drawn: the rows.
        groups = None if are_whole(weights) else np.arange(len(labels))
        rows = [Rows(labels > 0, logits, weights, {}, logits=True) for _, logits, _ in (first, second)]
        return {
            "auc": compare_auc(labels, first[1], second[1], confidence, groups, weights),
            "log_loss": compare_means(row_draws(rows, groups), confidence)["log_loss"],
        }


class SessionQuality(Quality):
    """NDCG@10 and HR@10 of the next item among the whole catalogue.

    Args:
        task: ranks in evaluation mode.
        bf16: in mixed precision with bfloat16.
    """

    metrics = ("ndcg@10", "hr@10")
    fitness_rows = 1 << 13

    def __init__(self, task: NextItemTask, bf16: bool = False) -> None:
        self._task, self._bf16 = task, bf16

    @torch.inference_mode()
    def collect(self, batches: Iterable[SessionBatch]) -> NDArray[np.int64]:
        """Ranks of the targets, from 1."""
        ranks = [torch.empty(0, dtype=torch.int64)]
        self._task.on_validation_epoch_start()
        try:
            for each in batches:
                batch = each.to(self._task.device)
                assert batch.targets is not None
                with torch.autocast(self._task.device.type, torch.bfloat16, enabled=self._bf16):
                    scores = self._task.scores(batch)
                ranks.append(ranks_of_targets(scores, batch.targets - 1).cpu())
        finally:
            self._task.on_predict_epoch_end()
        return torch.cat(ranks).numpy()

    def value(self, collected: NDArray[np.int64]) -> float:
        """The NDCG@10."""
        return float(rank_gains(collected, (10,))["ndcg@10"].mean())

    def compare(
        self, first: NDArray[np.int64], second: NDArray[np.int64], confidence: float = 0.95
    ) -> dict[str, Comparison]:
        """See Quality."""
        sums = []
        for ranks in (first, second):
            gains = rank_gains(ranks, (10,))
            sums += [*(gains[name] for name in self.metrics), np.ones(len(ranks))]
        return compare_ratios(self.metrics, draws_of(np.stack(sums, 1), None, None), confidence)


def difference_in_words(found: Comparison) -> str:
    """A difference and its interval; without one where there is none, as of equal predictions.

    >>> difference_in_words(Comparison(0.5, 0.75, 0.25, 0.125, 0.375, 0.01))
    '+0.25000 [+0.12500, +0.37500]'
    """
    interval = "" if math.isnan(found.low) else f" [{found.low:+.5f}, {found.high:+.5f}]"
    return f"{found.difference:+.5f}{interval}"


def measured_splits(data: CTRDataModule | SessionDataModule) -> list[str]:
    """Of val and test, those with rows.

    Raises:
        ValueError: if all rows of one have the same label, and so no AUC.
    """
    splits = data.schema.splits
    found = [split for split in ("val", "test") if split in splits and splits[split].num_rows]
    for split in found:
        label_rate = getattr(splits[split], "label_rate", None)
        if label_rate in (0, 1):
            raise ValueError(
                f"all rows of {split} in '{data.schema.path}' have label {label_rate:.0f}, and no AUC tells what "
                "compression loses there; prepare the data with rows of both labels in it, or without the split."
            )
    return found


def scores_in_bf16(trainer: Trainer) -> bool:
    """Whether a trainer scores in mixed precision with bfloat16.

    Raises:
        ValueError: if it rounds the model itself: what is measured, and kept, are tables in float32.
    """
    if isinstance(trainer.precision_plugin, HalfPrecision):
        raise ValueError(
            f"recsys compress measures tables in float32, and trainer.precision: {trainer.precision} rounds them "
            "with the whole model; give --trainer.precision=32-true, or bf16-mixed, and test with the same."
        )
    return str(trainer.precision).startswith("bf16")


def quality_of(task: LightningModule, bf16: bool = False) -> Quality:
    """What the task is measured by.

    Raises:
        ValueError: if it is neither CTRTask nor NextItemTask.
    """
    if isinstance(task, CTRTask):
        return ClickQuality(task, bf16)
    if isinstance(task, NextItemTask):
        return SessionQuality(task, bf16)
    raise ValueError(f"recsys compress takes models of CTRTask and NextItemTask, got {type(task).__name__}.")
