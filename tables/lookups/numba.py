"""The lookup of CPUs: loops compiled by numba, which needs no compiler, for all row optimisers and widths.

numba is imported when the first store is built, so that the rest of recsys.tables needs torch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.optimizers import SGD, Adagrad, Adam, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.pages import in_large_pages
from recsys.tables.lookups.torch import TorchStore
from recsys.tables.physical import PhysicalTable

_STEPPED = (SGD, Adagrad, RowWiseAdagrad, Adam)
"""Optimisers in the order of the kernels' numbers."""

_PIECE_ROWS = 2048
"""Rows below which a second thread costs more than it saves."""


@cache
def _threads(num_threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(num_threads, thread_name_prefix="recsys-rows")


def _on_threads(num_rows: int, bounds: Callable[[int], Sequence[int]], work: Callable[[int, int], Any]) -> list[Any]:
    """Work on the pieces between bounds, each on a thread of its own, as many as torch may use."""
    num_pieces = max(1, min(torch.get_num_threads(), num_rows // _PIECE_ROWS))
    edges = bounds(num_pieces)
    if num_pieces == 1:
        return [work(edges[0], edges[-1])]
    pool = _threads(torch.get_num_threads())
    return [each.result() for each in [pool.submit(work, *piece) for piece in pairwise(edges)]]


def _equal_pieces(length: int) -> Callable[[int], list[int]]:
    return lambda pieces: [length * piece // pieces for piece in range(pieces + 1)]


class NumbaStore(TorchStore):
    """Matrices of one width in float32 on a CPU."""

    def numbers(self, rows: Tensor, first_rows: Tensor) -> Tensor:
        """See Store."""
        from recsys.tables.lookups.kernels import number_rows

        found = torch.empty(rows.numel(), dtype=torch.int64)
        arrays = (rows.numpy(), first_rows.numpy(), found.numpy())
        _on_threads(rows.numel(), _equal_pieces(rows.shape[2]), lambda first, last: number_rows(*arrays, first, last))
        return found

    def gather(self, rows: Tensor) -> Tensor:
        """See Store."""
        from recsys.tables.lookups.kernels import gather

        found = in_large_pages(torch.empty(len(rows), self.row_dim, dtype=torch.float32))
        arrays = (self.weight.detach().numpy(), rows.numpy(), found.numpy())
        _on_threads(len(rows), _equal_pieces(len(rows)), lambda first, last: gather(*arrays, first, last))
        return found

    steps_sums = True

    def gather_sums(self, rows: Tensor, num_summed: int) -> Tensor:
        """See Store."""
        from recsys.tables.lookups.kernels import gather_sums

        if num_summed == 1:
            return self.gather(rows)
        found = in_large_pages(torch.empty(len(rows) // num_summed, self.row_dim, dtype=torch.float32))
        arrays = (self.weight.detach().numpy(), rows.numpy(), num_summed, found.numpy())
        _on_threads(len(rows), _equal_pieces(len(found)), lambda first, last: gather_sums(*arrays, first, last))
        return found

    def _bounds(self, rows: Tensor) -> Callable[[int], list[int]]:
        """Ranges of rows that are touched about equally often."""

        def bounds(pieces: int) -> list[int]:
            if pieces == 1:
                return [0, self.num_rows]
            some = rows[:: max(1, len(rows) // 1024)].sort().values
            inner = [int(some[len(some) * piece // pieces]) for piece in range(1, pieces)]
            return [0, *(max(0, each) for each in inner), self.num_rows]

        return bounds

    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """See Store."""
        self.step_sums(rows, 1, grad, learning_rate)

    @torch.no_grad()
    def step_sums(self, rows: Tensor, num_summed: int, grad: Tensor, learning_rate: float) -> None:
        """See Store."""
        from recsys.tables.lookups.kernels import step_within

        optimizer = self.optimizer
        beta1, beta2 = getattr(optimizer, "beta1", 0.0), getattr(optimizer, "beta2", 0.0)
        correction = (1 - beta2**self.num_steps) ** 0.5 / (1 - beta1**self.num_steps)
        eps = getattr(optimizer, "eps", 0.0)
        # Differences from 1 are taken before they are rounded to float32.
        settings = (learning_rate, optimizer.weight_decay, eps, 1 - beta1, beta2, 1 - beta2, correction)
        states = [self.matrix(kind).numpy() for kind in self.kinds() if kind != "weight"]
        states += [self.weight.numpy()] * (2 - len(states))
        kind = _STEPPED.index(type(optimizer))
        weight, numbers = self.weight.numpy(), torch.tensor(settings, dtype=torch.float32).numpy()
        asked, given = rows.numpy(), grad.contiguous().numpy()

        def work(low: int, high: int) -> None:
            step_within(kind, weight, states[0], states[1], asked, num_summed, given, low, high, numbers)

        _on_threads(len(rows), self._bounds(rows), work)

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See Store."""
        from recsys.tables.lookups.kernels import merge_within

        arrays = (rows.numpy(), 1, grad.contiguous().numpy())
        pieces = _on_threads(len(rows), self._bounds(rows), lambda low, high: merge_within(*arrays, low, high))
        found = [torch.cat([torch.from_numpy(each) for each in parts]) for parts in zip(*pieces, strict=True)]
        # Ascending, so that what is added up over them does not depend on the number of threads.
        distinct, order = found[0].sort()
        return distinct, found[1].index_select(0, order)


class NumbaLookup(Lookup):
    """Compiled loops for float32 rows on a CPU that step here; torch for the rest."""

    def store_key(self, table: PhysicalTable, optimizer: TableOptimizer, dtype: torch.dtype) -> Hashable:
        """One store per width and optimiser."""
        compiled = type(optimizer) in _STEPPED and dtype == torch.float32
        return (NumbaStore if compiled else TorchStore, optimizer, table.row_dim)
