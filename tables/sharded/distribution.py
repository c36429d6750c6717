"""Row numbers on their way to the processes that hold the rows, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.started import InputDistribution


@dataclass(frozen=True)
class Owners:
    """Who holds which rows.

    Shape:
        starts [S] ascending, the first row of every shard; ranks [S], the process that holds it; places [S], where
        the shard begins among all rows of that process
    """

    starts: Tensor
    ranks: Tensor
    places: Tensor

    def of(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The process of each row, and the row's place there; "no row" stays at home as -1."""
        shards = torch.searchsorted(self.starts, rows, right=True).sub_(1).clamp_(min=0)
        absent = rows < 0
        places = rows - self.starts[shards] + self.places[shards]
        return torch.where(absent, dist.get_rank(), self.ranks[shards]), torch.where(absent, -1, places)


class RowDistribution(InputDistribution):
    """One exchange: each process sends the numbers of the rows it needs to those that hold them, and no others.

    Args:
        rows: [N] of all processes' rows, -1 is no row.
        owners: who holds them.
    """

    def __init__(self, rows: Tensor, owners: Owners) -> None:
        num_ranks = dist.get_world_size()
        ranks, places = owners.of(rows)
        self._order = ranks.argsort(stable=True)
        self._sent_rows = places.index_select(0, self._order)
        self._counts = torch.zeros(num_ranks, dtype=torch.int64, device=rows.device)
        self._counts.index_add_(0, ranks, torch.ones_like(ranks))
        self._asked = torch.empty_like(self._counts)
        self._work: Any = dist.all_to_all_single(self._asked, self._counts, async_op=True)
        self._num_sent: list[int] = []
        self._num_received: list[int] = []
        self.rows = rows[:0]
        """The rows of this process that all have asked for, when they have arrived."""

    def advance(self) -> None:
        """See InputDistribution."""
        self._work.wait()
        self._num_sent, self._num_received = self._counts.tolist(), self._asked.tolist()
        self.rows = self._sent_rows.new_empty(sum(self._num_received))
        self._work = dist.all_to_all_single(
            self.rows, self._sent_rows, self._num_received, self._num_sent, async_op=True
        )

    def finish(self) -> None:
        """See InputDistribution."""
        self._work.wait()

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """See InputDistribution."""
        for tensor in (self._order, self._sent_rows, self.rows):
            tensor.record_stream(stream)

    def bring_back(self, vectors: Tensor) -> Tensor:
        """What each process has found for the rows asked of it [M, W] -> what this one has asked for [N, W]."""
        came = vectors.new_empty(len(self._order), vectors.shape[1])
        dist.all_to_all_single(came, vectors.contiguous(), self._num_sent, self._num_received)
        return torch.empty_like(came).index_copy_(0, self._order, came)

    def send_home(self, grad: Tensor) -> Tensor:
        """Gradients [N, W] of what this process has asked for -> those of the rows that it holds [M, W]."""
        came = grad.new_empty(len(self.rows), grad.shape[1])
        sent = grad.index_select(0, self._order)
        dist.all_to_all_single(came, sent, self._num_received, self._num_sent)
        return came
