"""What the vectors of items matter to the loss of a trained session model, on some training sessions."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from recsys.compression.probe import mean_gains
from recsys.data import SessionBatch
from recsys.tasks import NextItemTask

Change = Callable[[Tensor], Tensor]
"""From vectors [N, F, D] as they were looked up to those that the model is given."""


class SessionProbe:
    """Asks a model in evaluation mode; what is drawn, masks and negatives, is drawn alike at each question.

    Args:
        task: trained.
        batches: of training sessions, on the task's device.
        seed: of what is drawn.

    Raises:
        ValueError: if there are none.
    """

    def __init__(self, task: NextItemTask, batches: Sequence[SessionBatch], seed: int = 0) -> None:
        if not batches:
            raise ValueError("the train split has no sessions to measure sensitivity on.")
        self._task, self._batches, self._seed = task, batches, seed
        self._features = [feature.name for feature in task.collection.features]

    def sensitivity(self) -> dict[str, Tensor]:
        """[D] by feature: squares of the gradients of the summed loss by all vectors that were read, a target."""
        total = torch.zeros(len(self._features), self._task.embedding_dim, dtype=torch.float64)
        num_targets = 0
        for batch in self._batches:
            read: list[Tensor] = []

            def watched(vectors: Tensor, read: list[Tensor] = read) -> Tensor:
                read.append(vectors.detach().requires_grad_())
                return read[-1]

            with torch.enable_grad():
                loss, number = self._loss(batch, watched)
                # Vectors that a loss reads again for itself, a chunk at a time, have no gradient here.
                gradients = torch.autograd.grad(loss, read, allow_unused=True)
            for gradient in gradients:
                if gradient is not None:
                    total += gradient.double().square().sum(0).cpu()
            num_targets += number
        return dict(zip(self._features, (total / max(1, num_targets)).float(), strict=True))

    @torch.no_grad()
    def column_values(self, means: Mapping[str, Tensor], num_orders: int, seed: int) -> dict[str, Tensor]:
        """[D] by feature: Shapley value of each column, as Probe measures it.

        Args:
            means: [D] by feature, which absent columns are.
            num_orders: pairs of orders.
            seed: of the orders.
        """
        absent = torch.stack([means[name] for name in self._features]).to(self._task.device)
        values = mean_gains(
            lambda order, batch: self._gains(order, absent, batch), self._batches, absent.numel(), num_orders, seed
        )
        return dict(zip(self._features, values.float().view(absent.shape), strict=True))

    def _gains(self, order: Tensor, absent: Tensor, batch: SessionBatch) -> Tensor:
        """[F * D] the loss of a target that each column saves when they come one after the other."""
        present = torch.zeros(absent.numel(), dtype=torch.bool, device=absent.device)

        def mean_loss() -> float:
            shown = present.view(absent.shape)
            loss, number = self._loss(batch, lambda vectors: torch.where(shown, vectors, absent.to(vectors)))
            return float(loss) / max(1, number)

        gains, before = torch.zeros(len(order), dtype=torch.float64), mean_loss()
        for column in order.tolist():
            present[column] = True
            after = mean_loss()
            gains[column], before = before - after, after
        return gains

    def _loss(self, batch: SessionBatch, change: Change) -> tuple[Tensor, int]:
        """The summed loss of a batch, its vectors changed, and the number of its targets."""
        task = self._task
        devices = [task.device] if task.device.type == "cuda" else []
        with torch.random.fork_rng(devices), changed_vectors(task.collection, change):
            torch.manual_seed(self._seed)
            examples = task.objective.training(batch, task.max_length)
            return task.summed_loss(examples)[0], len(examples.targets)


@contextmanager
def changed_vectors(collection: nn.Module, change: Change) -> Iterator[None]:
    """All that a collection looks up is changed before anybody sees it."""
    handle = collection.register_forward_hook(lambda module, inputs, vectors: change(vectors))
    try:
        yield
    finally:
        handle.remove()
