"""The lookup in plain torch: anywhere torch runs, with nothing else installed, touching only the rows it saw."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.base import Lookup, Slots, Store
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer


def coalesce(rows: Tensor, grad: Tensor, num_rows: int) -> tuple[Tensor, Tensor]:
    """Distinct rows and the sum of each one's gradients.

    Sorting and summing segments with embedding_bag is the fastest of the ways measured; int32 keys sort faster.

    Shape:
        rows [N] in [0, num_rows), grad [N, row_dim] -> rows [M], grad [M, row_dim]
    """
    keys, order = torch.sort(rows.to(torch.int32) if num_rows < 2**31 else rows)
    distinct, counts = torch.unique_consecutive(keys, return_counts=True)
    offsets = torch.zeros(distinct.numel() + 1, dtype=torch.long, device=rows.device)
    torch.cumsum(counts, 0, out=offsets[1:])
    summed = F.embedding_bag(order, grad, offsets, mode="sum", include_last_offset=True)
    return distinct.long(), summed


class _RowsWithUpdate(torch.autograd.Function):
    """index_select whose backward pass updates the store instead of making a gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, trigger: Tensor, store: TorchStore) -> Tensor:
        ctx.save_for_backward(rows)
        ctx.store = store
        return store.weight.index_select(0, rows)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, None, None]:
        (rows,) = ctx.saved_tensors
        ctx.store.apply_gradient(rows, grads[0])
        return None, None, None


class TorchStore(Store):
    """Matrices of one width, stacked into one, under one optimiser."""

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        requests: Sequence[Slots],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(tables, requests, optimizer, dtype, device)
        self._first_row: dict[str, int] = {}
        num_rows = 0
        for table in tables:
            self._first_row[table.name] = num_rows
            num_rows += table.num_rows
        weight = torch.empty(num_rows, tables[0].row_dim, dtype=dtype, device=device)
        self._set_weight(weight)
        for name, state_dim in optimizer.state_dims(tables[0].row_dim).items():
            self.register_buffer(name, torch.zeros(num_rows, state_dim, dtype=dtype, device=device))
        for table in tables:
            self.load_tensor(table.name, "weight", table.initial_rows(dtype))
        for request, slots in enumerate(requests):
            first_rows = torch.tensor([self._first_row[name] for name in slots], device=device).unsqueeze(1)
            self.register_buffer(f"first_rows{request}", first_rows)
        self._trigger = torch.zeros((), device=device, requires_grad=True)
        self._learning_rate = optimizer.learning_rate

    def _set_weight(self, weight: Tensor) -> None:
        if isinstance(self.optimizer, DenseGradient):
            self.weight = nn.Parameter(weight)
        else:
            self.register_buffer("weight", weight)

    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """See Store."""
        counts = [asked.numel() for asked in rows]
        stacked = [
            (asked + self.get_buffer(f"first_rows{request}")).t().reshape(-1) for request, asked in enumerate(rows)
        ]
        flat = torch.cat(stacked) if len(stacked) > 1 else stacked[0]
        vectors = self._select(flat).split(counts)
        widths = [sum(self.slot_dims(request)) for request in range(len(rows))]
        return [vector.view(-1, width) for vector, width in zip(vectors, widths, strict=True)]

    def _select(self, rows: Tensor) -> Tensor:
        if isinstance(self.optimizer, DenseGradient | Frozen):
            return F.embedding(rows, self.weight)
        if not torch.is_grad_enabled():
            return self.weight.index_select(0, rows)
        selected: Tensor = _RowsWithUpdate.apply(rows, self._trigger, self)
        return selected

    @torch.no_grad()
    def apply_gradient(self, rows: Tensor, grad: Tensor) -> None:
        """One optimizer step on the rows that were read."""
        self.num_steps += 1
        if rows.numel() == 0:
            return
        distinct, summed = coalesce(rows, grad.contiguous(), self.weight.shape[0])
        state = {name: self.get_buffer(name) for name in self.optimizer.state_dims(grad.shape[1])}
        self.optimizer.step(self.weight, state, distinct, summed, self.num_steps, self._learning_rate)

    def tensors(self, table: str) -> dict[str, Tensor]:
        """Views of a matrix and its state."""
        return {kind: self._view(table, kind) for kind in self.widths(table)}

    def _view(self, table: str, kind: str) -> Tensor:
        num_rows = next(each.num_rows for each in self.tables if each.name == table)
        matrix: Tensor = getattr(self, kind)
        return matrix.detach().narrow(0, self._first_row[table], num_rows)

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Tensor) -> None:
        """See Store."""
        self._view(table, kind).copy_(values)

    @torch.no_grad()
    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See Store."""
        for kind, matrix in self.tensors(table).items():
            matrix[rows] = values.to(matrix) if kind == "weight" else matrix.new_zeros(())

    def set_learning_rate(self, learning_rate: float) -> None:
        """See Store."""
        self._learning_rate = learning_rate


class TorchLookup(Lookup):
    """Matrices of equal width and optimiser are stacked, read with one index_select and updated in one pass."""

    def store_key(
        self, table: PhysicalTable, optimizer: TableOptimizer, num_slots: int, dtype: torch.dtype
    ) -> Hashable:
        """One store per width and optimiser."""
        return (TorchStore, optimizer, table.row_dim)
