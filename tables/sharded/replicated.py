"""Rows that every process holds whole: read locally, updated by the gradients of all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.torch import TorchStore


class ReplicatedStore(TorchStore):
    """Small matrices on every process; a step moves one sum of R x (row_dim + 1) values between them.

    Rows that no process has touched stay as they are, so every optimiser gives what it gives in one process. Gradients
    are divided by the number of processes, as DistributedDataParallel does. Every process must make every call.
    """

    @torch.no_grad()
    def apply_gradient(self, rows: Tensor, grad: Tensor) -> None:
        """One optimizer step on the rows that any process has read."""
        self.num_steps += 1
        total = grad.new_zeros(self.weight.shape[0], grad.shape[1] + 1)
        # The last column counts reads: a gradient may be zero where a row was read, and state must still move.
        total.index_add_(0, rows, torch.cat([grad, grad.new_ones(len(grad), 1)], dim=1))
        dist.all_reduce(total)
        touched = total[:, -1].nonzero().squeeze(1)
        if touched.numel() == 0:
            return
        summed = total.index_select(0, touched)[:, :-1] / dist.get_world_size()
        state = {name: self.get_buffer(name) for name in self.optimizer.state_dims(grad.shape[1])}
        self.optimizer.step(self.weight, state, touched, summed, self.num_steps, self._learning_rate)
