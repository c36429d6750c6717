"""A store holds matrices of one kind, stacked: a row of a matrix is a row of its store, counted from the first."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self, TypeVar

import torch
from torch import Tensor, nn

from recsys.tables.lookups.gradients import Record
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.lookups.summed import added_up
from recsys.tables.physical import PhysicalTable

T = TypeVar("T")


class Store(nn.Module, ABC):
    """Matrices of one width, dtype and optimiser, stacked: what a back-end implements.

    Args:
        tables: the matrices, in order.
        optimizer: of their rows.
        dtype: of the rows.
        device: where they live.
        seed: that rows are drawn from.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
    ) -> None:
        super().__init__()
        self.tables = {table.name: table for table in tables}
        self.optimizer = optimizer
        self.dtype = dtype
        self.device = device
        self.seed = seed
        self.row_dim = tables[0].row_dim
        self.first_rows: dict[str, int] = {}
        self.num_rows = 0
        for table in tables:
            self.first_rows[table.name] = self.num_rows
            self.num_rows += table.num_rows
        self.num_steps = 0

    @property
    def steps(self) -> bool:
        """Whether rows are trained here; dense gradients step elsewhere, frozen rows never."""
        return not isinstance(self.optimizer, DenseGradient | Frozen)

    reads_at_once: ClassVar[bool] = False
    """Whether all that is asked of it in a batch is better asked together."""

    steps_sums: ClassVar[bool] = False
    """Whether gradients of sums need not be given to each row first."""

    def numbers(self, rows: Tensor, first_rows: Tensor) -> Tensor:
        """Row numbers of the store, id after id.

        Shape:
            rows [G, K, N] of the matrices, first_rows [G, K, 1] or [G, K, N] -> [N * G * K]
        """
        return (rows + first_rows).masked_fill(rows < 0, -1).permute(2, 0, 1).reshape(-1)

    @abstractmethod
    def gather(self, rows: Tensor) -> Tensor:
        """Rows [N, row_dim] of row numbers [N], zeros for -1; differentiable only with a DenseGradient."""

    @abstractmethod
    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """One optimizer step.

        Shape:
            rows [N], any number of times each, -1 is no row; grad [N, row_dim]
        """

    def gather_sums(self, rows: Tensor, num_summed: int) -> Tensor:
        """The sums [N, row_dim] of every K neighbours of row numbers [N * K], else as `gather`."""
        return added_up(self.gather(rows), num_summed)

    def step_sums(self, rows: Tensor, num_summed: int, grad: Tensor, learning_rate: float) -> None:
        """As `step`, with the gradients [N, row_dim] of such sums; of stores with `steps_sums`."""
        raise AssertionError(f"{type(self).__name__} steps no sums.")

    @abstractmethod
    def square_norm(self, rows: Tensor, grad: Tensor) -> Tensor:
        """Sum of the squares of the gradient of every row, those of equal rows added up first; a scalar."""

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """The same gradients with those of equal rows added up."""
        return rows, grad

    def start(self, rows: Tensor, waits: bool = False) -> InputDistribution | None:
        """Send row numbers to where their rows live; None where they are at hand.

        Args:
            rows: [N].
            waits: return when they have arrived.
        """
        return None

    def look_up(self, distribution: InputDistribution) -> Tensor:
        """What `gather` gives for the row numbers that `start` has sent."""
        raise AssertionError(f"{type(self).__name__} starts no lookups.")

    def at_home(self, record: Record) -> tuple[Tensor, Tensor]:
        """Row numbers and gradients of a read, where the rows live."""
        return record.rows, record.grad

    def kinds(self) -> dict[str, int]:
        """Width of the rows and of their optimizer state, by kind."""
        return {"weight": self.row_dim, **self.optimizer.state_dims(self.row_dim)}

    @abstractmethod
    def matrix(self, kind: str) -> Tensor:
        """All rows [R, width] of the store, or their state of a kind: the memory itself."""

    def view(self, table: str, kind: str) -> Tensor:
        """The part of `matrix` that is one table's."""
        return self.matrix(kind).detach().narrow(0, self.first_rows[table], self.tables[table].num_rows)

    def tensors(self, table: str) -> dict[str, Tensor]:
        """Copies or views of a matrix [R, row_dim], its "weight", and of its optimizer state [R, width], by kind."""
        return {kind: self.view(table, kind) for kind in self.kinds()}

    def saved_tensors(self, table: str) -> dict[str, Any]:
        """What a checkpoint keeps of a matrix: its tensors, or each process' part of them."""
        return self.tensors(table)

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Any) -> None:
        """Overwrite the weight or a state of one matrix, with all its values or with what `saved_tensors` gives."""
        self.view(table, kind).copy_(values)
        self.forget_cached()

    @torch.no_grad()
    def draw(self) -> None:
        """Fill in fresh rows, block by block: nothing is held twice."""
        for table in self.tables.values():
            weight = self.view(table.name, "weight")
            for start, block in table.initial_blocks(0, table.num_rows, self.dtype, seed=self.seed):
                weight[start : start + len(block)].copy_(block)
        self.forget_cached()

    def read_rows(self, table: str, kind: str, rows: Tensor) -> Tensor:
        """Values [M, width] of rows [M] of a matrix."""
        return self.view(table, kind).index_select(0, rows)

    @torch.no_grad()
    def write_rows(self, table: str, kind: str, rows: Tensor, values: Tensor) -> None:
        """Overwrite rows [M] of a matrix or its state."""
        matrix = self.view(table, kind)
        matrix.index_copy_(0, rows, values.to(matrix))
        self.forget_cached()

    def forget_cached(self) -> None:
        """After rows were written where they are kept: drop the copies that a cache has of them."""

    def stored_bytes(self, table: PhysicalTable) -> int:
        """Bytes that a matrix takes in this store."""
        return table.num_rows * self.row_dim * self.dtype.itemsize

    def state_bytes(self, table: PhysicalTable) -> int:
        """Bytes of the optimizer state that this store keeps of a matrix."""
        return table.num_rows * sum(self.optimizer.state_dims(self.row_dim).values()) * state_dtype(self.dtype).itemsize

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move to a device; rows and their state keep their dtypes, except that of parameters."""
        return keep_dtypes(super()._apply, fn, recurse)

    def _save_to_state_dict(self, *args: Any) -> None:
        """The lookup saves for its stores, by matrix name."""

    def _load_from_state_dict(self, *args: Any) -> None:
        """The lookup loads for its stores."""


def keep_dtypes(apply: Callable[..., T], fn: Callable[[Tensor], Tensor], recurse: bool) -> T:
    """Apply `fn` to a module's tensors, but let those that are no parameters keep their dtype.

    Args:
        apply: the module's own `_apply`.
        fn: moves a tensor, and may change its dtype.
        recurse: see nn.Module._apply.
    """

    def moved(tensor: Tensor) -> Tensor:
        found = fn(tensor)
        is_kept = found.dtype == tensor.dtype or isinstance(tensor, nn.Parameter)
        return found if is_kept else tensor.to(found.device)

    return apply(moved, recurse)


StoreFactory = Callable[[Sequence[PhysicalTable], TableOptimizer, torch.dtype, torch.device, int], Store]
"""Called as Store is."""


def state_dtype(dtype: torch.dtype) -> torch.dtype:
    """Of the optimizer state of rows: narrow rows have float32 state, or small steps would be lost."""
    return torch.float64 if dtype == torch.float64 else torch.float32
