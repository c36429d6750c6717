"""Rows that every process holds whole: read locally, updated by the gradients of all processes."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.gradients import Record
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.lookups.torch import TorchStore


class ReplicatedStore(TorchStore):
    """Small matrices on every process; a step moves one sum of R x (row_dim + 1) values between them.

    Rows that no process has touched stay as they are, so every optimiser gives what it gives in one process. Gradients
    are divided by the number of processes, as DistributedDataParallel does. Every process must make every call.
    """

    reads_at_once = True

    @torch.no_grad()
    def at_home(self, record: Record) -> tuple[Tensor, Tensor]:
        """The rows that any process has read, and the mean of their gradients over the processes."""
        if record.distribution is None:
            return record.rows, record.grad
        grad = record.grad
        # One row more takes what "no row" is given, and the last column counts reads: a gradient may be zero where a
        # row was read, and state must still move.
        total = grad.new_zeros(self.num_rows + 1, grad.shape[1] + 1)
        read = torch.where(record.rows < 0, self.num_rows, record.rows)
        total.index_add_(0, read, torch.cat([grad, grad.new_ones(len(grad), 1)], dim=1))
        dist.all_reduce(total)
        counts, summed = total[:-1, -1], total[:-1, :-1] / dist.get_world_size()
        rows = torch.arange(self.num_rows, device=total.device)
        return torch.where(counts > 0, rows, -1), summed

    def start(self, rows: Tensor, waits: bool = False) -> InputDistribution:
        """Rows are at hand everywhere; their gradients are not."""
        return _AtHand(rows)

    def look_up(self, distribution: InputDistribution) -> Tensor:
        """See Store."""
        assert isinstance(distribution, _AtHand)
        return self.gather(distribution.rows)


class _AtHand(InputDistribution):
    """Rows that need not travel."""

    def __init__(self, rows: Tensor) -> None:
        self.rows = rows

    def advance(self) -> None:
        """See InputDistribution."""

    def finish(self) -> None:
        """See InputDistribution."""

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """See InputDistribution."""
        self.rows.record_stream(stream)
