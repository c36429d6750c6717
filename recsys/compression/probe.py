"""What the vectors of a trained model matter to its loss: gradients and Shapley values, on some training data."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import cycle
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.data import SessionBatch
from recsys.data.batch import Batch
from recsys.tasks import CTRTask

AnyBatch = TypeVar("AnyBatch", Batch, SessionBatch)


class Probe:
    """Asks a model in evaluation mode.

    Args:
        task: trained.
        batches: labelled, on the task's device.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, task: CTRTask, batches: Sequence[Batch]) -> None:
        if not batches:
            raise ValueError("the train split has no rows to measure sensitivity on.")
        self._task = task
        self._batches = batches
        self._features = [feature.name for feature in task.collection.features]

    def sensitivity(self) -> dict[str, Tensor]:
        """[D] by feature: mean square of the gradient of a sample's loss by its vector, a diagonal Fisher.

        Samples count by their weights, where they have any.
        """
        total = torch.zeros(len(self._features), self._task.embedding_dim, dtype=torch.float64)
        num_samples = 0.0
        for batch in self._batches:
            vectors = self._vectors(batch).requires_grad_()
            with torch.enable_grad():
                self._losses(vectors, batch).sum().backward()
            assert vectors.grad is not None
            weights = torch.ones(len(batch)) if batch.weights is None else batch.weights.cpu()
            total += torch.einsum("b,bfd->fd", weights.double(), vectors.grad.double().square().cpu())
            num_samples += float(weights.sum())
        return dict(zip(self._features, (total / (num_samples or 1)).float(), strict=True))

    @torch.no_grad()
    def column_values(self, means: Mapping[str, Tensor], num_orders: int, seed: int) -> dict[str, Tensor]:
        """[D] by feature: Shapley value of each column, how much loss it saves, averaged over orders of all columns.

        Source: Covert et al., "SAGE" (arXiv:2004.00668), algorithm 1; absent columns are the feature's mean. Each order
        is also run backwards, which cancels much of the noise.

        Args:
            means: [D] by feature.
            num_orders: pairs of orders.
            seed: of the orders.
        """
        width = self._task.embedding_dim
        absent = torch.stack([means[name] for name in self._features]).to(self._task.device)
        values = mean_gains(
            lambda order, batch: self._gains(order, absent, batch), self._batches, absent.numel(), num_orders, seed
        )
        return dict(zip(self._features, values.float().view(-1, width), strict=True))

    def _gains(self, order: Tensor, absent: Tensor, batch: Batch) -> Tensor:
        """[F * D] the loss that each column saves when they come one after the other."""
        vectors = self._vectors(batch)
        present = absent.expand_as(vectors).clone()
        flat, known = present.view(len(present), -1), vectors.reshape(len(present), -1)
        gains = torch.zeros(len(order), dtype=torch.float64)
        before = self._mean_loss(present, batch)
        for column in order.tolist():
            flat[:, column] = known[:, column]
            after = self._mean_loss(present, batch)
            gains[column], before = before - after, after
        return gains

    @torch.no_grad()
    def _vectors(self, batch: Batch) -> Tensor:
        """Vectors [B, F, D]."""
        found: Tensor = self._task.collection(batch.ids, batch.bags)
        return found.detach().float()

    def _mean_loss(self, vectors: Tensor, batch: Batch) -> float:
        losses = self._losses(vectors, batch)
        if batch.weights is None:
            return float(losses.mean())
        return float((losses * batch.weights).sum() / batch.weights.sum())

    def _losses(self, vectors: Tensor, batch: Batch) -> Tensor:
        """[B] of the samples, as if all weighed the same."""
        assert batch.labels is not None
        logits = self._task.model(vectors, batch.dense).float()
        return F.binary_cross_entropy_with_logits(logits, batch.labels, reduction="none")


def mean_gains(
    gains: Callable[[Tensor, AnyBatch], Tensor],
    batches: Sequence[AnyBatch],
    num_columns: int,
    num_orders: int,
    seed: int,
) -> Tensor:
    """What columns save when they come one after the other, [num_columns] in float64: the mean over orders.

    Args:
        gains: of an order [num_columns] and a batch, [num_columns].
        batches: in turns, one for each order and its reverse.
        num_columns: that are ordered.
        num_orders: pairs of orders.
        seed: of the orders.
    """
    values = torch.zeros(num_columns, dtype=torch.float64)
    generator, endless = torch.Generator().manual_seed(seed), cycle(batches)
    for _ in range(num_orders):
        order = torch.randperm(num_columns, generator=generator)
        batch = next(endless)
        for each in (order, order.flip(0)):
            values += gains(each, batch)
    return values / (2 * num_orders)


def first_batches(loader: Iterable[AnyBatch], num_rows: int, device: torch.device) -> list[AnyBatch]:
    """Batches of a loader until they have so many rows, or sessions."""
    found: list[AnyBatch] = []
    for batch in loader:
        found.append(batch.to(device))
        num_rows -= len(batch)
        if num_rows <= 0:
            break
    return found
