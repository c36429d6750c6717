"""The lookup in plain torch: anywhere torch runs, with nothing else installed, touching only the rows it saw."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.optimizers import DenseGradient, TableOptimizer
from recsys.tables.lookups.pages import in_large_pages
from recsys.tables.lookups.store import Store, state_dtype
from recsys.tables.physical import PhysicalTable


def coalesce(rows: Tensor, grad: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Distinct rows and the sum of each one's gradients, on a CPU; -1 is left out.

    Sorting and summing segments with embedding_bag is the fastest of the ways measured; int32 keys sort faster.

    Shape:
        rows [N] in [-1, num_rows), grad [N, row_dim] -> rows [M], grad [M, row_dim]
    """
    keys, order = torch.sort(rows.to(torch.int32) if num_rows < 2**31 else rows)
    distinct, counts = torch.unique_consecutive(keys, return_counts=True)
    if len(distinct) and distinct[0] < 0:
        order, distinct, counts = order[counts[0] :], distinct[1:], counts[1:]
    offsets = torch.zeros(len(distinct) + 1, dtype=torch.long)
    torch.cumsum(counts, 0, out=offsets[1:])
    return distinct.long(), F.embedding_bag(order, grad, offsets, mode="sum", include_last_offset=True)


def coalesce_in_place(rows: Tensor, grad: Tensor, spare_row: int) -> tuple[Tensor, Tensor]:
    """The same without asking how many rows are distinct, for which a GPU would be waited for.

    Shape:
        rows [N] in [-1, spare_row), grad [N, row_dim] -> rows [N], grad [N, row_dim]; what is left over, and -1, goes
        to the spare row
    """
    keys, order = torch.sort(torch.where(rows < 0, spare_row, rows))
    begins = torch.ones_like(keys)
    begins[1:] = (keys[1:] != keys[:-1]).to(keys.dtype)
    segments = begins.cumsum(0) - 1
    summed = torch.zeros_like(grad).index_add_(0, segments, grad.index_select(0, order))
    distinct = torch.full_like(keys, spare_row).index_copy_(0, segments, keys)
    return distinct, summed


class TorchStore(Store):
    """Matrices of one width, stacked into one. Off the CPU, rows that step are followed by a spare one.

    The spare row stands for "no row" and for whatever a number of rows that is not known leaves over; it is zeros
    whenever it is read.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        super().__init__(tables, optimizer, dtype, device, seed)
        self._has_spare = device.type != "cpu" and self.steps
        num_rows = self.num_rows + self._has_spare
        weight = in_large_pages(torch.empty(num_rows, self.row_dim, dtype=dtype, device=device))
        if isinstance(optimizer, DenseGradient):
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)
        for name, state_dim in optimizer.state_dims(self.row_dim).items():
            state = torch.empty(num_rows, state_dim, dtype=state_dtype(dtype), device=device)
            self.register_buffer(name, in_large_pages(state).zero_())

    def gather(self, rows: Tensor) -> Tensor:
        """See Store."""
        if self._has_spare:
            self.weight[-1].zero_()
            return self.weight.index_select(0, torch.where(rows < 0, self.num_rows, rows))
        absent = rows < 0
        if rows.device.type == "cpu" and not bool(absent.any()):
            # The gradient of index_select adds rows up in a third of the time of that of embedding.
            return self.weight.index_select(0, rows)
        return F.embedding(rows.clamp(min=0), self.weight).masked_fill(absent.unsqueeze(1), 0)

    @torch.no_grad()
    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """See Store."""
        distinct, summed = self.merged(rows, grad)
        if len(distinct):
            state = {kind: self.matrix(kind) for kind in self.kinds() if kind != "weight"}
            self.optimizer.step(self.weight, state, distinct, summed, self.num_steps, learning_rate)

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See Store; gradients of narrow rows are added up in float32."""
        grad = grad.to(state_dtype(self.dtype))
        if self._has_spare:
            return coalesce_in_place(rows, grad, self.num_rows)
        return coalesce(rows, grad, self.num_rows)

    def square_norm(self, rows: Tensor, grad: Tensor) -> Tensor:
        """See Store."""
        distinct, summed = self.merged(rows, grad)
        squares = summed.square().sum(1)
        return squares.masked_fill(distinct == self.num_rows, 0).sum()

    def matrix(self, kind: str) -> Tensor:
        """See Store."""
        found: Tensor = getattr(self, kind)
        return found


class TorchLookup(Lookup):
    """Matrices of equal width and optimiser are stacked, read with one index_select and updated in one pass."""

    def store_key(self, table: PhysicalTable, optimizer: TableOptimizer, dtype: torch.dtype) -> Hashable:
        """One store per width and optimiser."""
        return (TorchStore, optimizer, table.row_dim)
