"""What memory holds: matrices by name, and how their rows begin."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.argument_types import check_fields, fits_memory
from recsys.tables.lookups.optimizers import Frozen, TableOptimizer
from recsys.tables.numbers import check_number
from recsys.tables.placement import check_dense, check_readable
from recsys.tables.routing.hashes import name_seed

MAX_INIT_STD = 1e4
"""Rows of every dtype hold what lies within sqrt(3) of it."""


@dataclass(frozen=True)
class PhysicalTable:
    """A matrix that memory holds. Two with one name are one matrix and must agree in everything else.

    Args:
        name: identity of the storage.
        num_rows: R, rows.
        row_dim: width of a row in values.
        init_std: rows start uniform in init_mean +- sqrt(3) * init_std, from a seed made of the name; integers among
            those that lie there.
        init_mean: what they start around.
        optimizer: of the rows, whatever those who use the table choose; None leaves the choice to them.
        dtype: of the rows; None takes that of the collection. Integers must be Frozen, and are read as numbers.
        values: [R, row_dim] that the rows start as, instead of drawn ones.

    Raises:
        ValueError: if rows of integers are to be trained, init_std is out of range, or values are of another shape.
    """

    name: str
    num_rows: int
    row_dim: int
    init_std: float
    init_mean: float = 0.0
    optimizer: TableOptimizer | None = None
    dtype: torch.dtype | None = None
    values: Tensor | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        """Refuse to train integers, to draw what no rows hold, and values of another shape."""
        check_fields(self)
        if not self.name:
            raise ValueError("physical table: name must not be empty.")
        for name in ("num_rows", "row_dim"):
            check_number(f"physical table '{self.name}'", name, getattr(self, name), 1)
        check_number(f"physical table '{self.name}'", "init_mean", self.init_mean, -math.inf)
        check_number(f"physical table '{self.name}'", "init_std", self.init_std, 0, MAX_INIT_STD)
        integers = self.dtype is not None and not self.dtype.is_floating_point
        if integers and not isinstance(self.optimizer, Frozen):
            raise ValueError(f"physical table '{self.name}': rows of {self.dtype} must be Frozen.")
        if self.values is not None:
            check_readable(f"physical table '{self.name}'", "values", self.values)
        if self.values is not None and tuple(self.values.shape) != (self.num_rows, self.row_dim):
            raise ValueError(
                f"physical table '{self.name}': values must be [{self.num_rows}, {self.row_dim}], got "
                f"{list(self.values.shape)}."
            )
        if self.values is not None:
            check_dense(f"physical table '{self.name}'", "values", self.values)
            if not bool(self.values.isfinite().all()):
                raise ValueError(f"physical table '{self.name}': values must be finite.")

    def num_bytes(self, dtype: torch.dtype = torch.float32) -> int:
        """Bytes of the matrix, where `dtype` is that of the collection."""
        return self.num_rows * self.row_dim * (self.dtype or dtype).itemsize

    def initial_rows(self, dtype: torch.dtype = torch.float32, seed: int | None = None) -> Tensor:
        """Fresh rows [R, row_dim]; they depend on the seed and on the name, not on the order of building.

        Args:
            dtype: of the collection.
            seed: None takes torch's global seed.
        """
        with fits_memory(f"physical table '{self.name}'"):
            rows = torch.empty(self.num_rows, self.row_dim, dtype=self.dtype or dtype, device="cpu")
        for start, block in self.initial_blocks(0, self.num_rows, dtype, seed=seed):
            rows[start : start + len(block)] = block
        return rows

    def initial_blocks(
        self,
        first: int,
        last: int,
        dtype: torch.dtype = torch.float32,
        block_values: int = 1 << 20,
        seed: int | None = None,
    ) -> Iterator[tuple[int, Tensor]]:
        """Rows first to last - 1 of `initial_rows`, to the bit, without ever holding more than a block of them.

        Rows before `first` are drawn as well, since each draw follows from the one before.

        Args:
            first: row to begin with.
            last: row to stop before.
            dtype: of the collection.
            block_values: values of a block, which has at least one row.
            seed: None takes torch's global seed.

        Yields:
            The first row of a block and the block's rows, which the next block overwrites.
        """
        dtype = self.dtype or dtype
        if self.values is not None:
            num_rows = max(1, block_values // self.row_dim)
            for start in range(first, last, num_rows):
                yield start, self.values[start : min(start + num_rows, last)].to(dtype, copy=True)
            return
        generator = named_generator(self.name, seed)
        low, high = (self.init_mean + sign * math.sqrt(3) * self.init_std for sign in (-1, 1))
        block = torch.empty(max(1, min(last, block_values // self.row_dim)), self.row_dim, dtype=dtype, device="cpu")
        for start in range(0, last if first < last else 0, len(block)):
            rows = block[: last - start]
            if dtype.is_floating_point:
                rows.uniform_(low, high, generator=generator)
            elif self.init_std:
                rows.random_(math.ceil(low), math.floor(high) + 1, generator=generator)
            else:
                rows.fill_(round(self.init_mean))
            if start + len(rows) > first:
                skipped = max(0, first - start)
                yield start + skipped, rows[skipped:]


def named_seed(name: str, seed: int | None = None) -> int:
    """A seed in [0, 2**63) made of torch's global seed, or of a given one, and a name."""
    return ((torch.initial_seed() if seed is None else seed) ^ name_seed(name)) & ((1 << 63) - 1)


def named_generator(name: str, seed: int | None = None) -> torch.Generator:
    """A generator seeded by torch's global seed, or a given one, and a name."""
    return torch.Generator().manual_seed(named_seed(name, seed))


def agreed_seed() -> int:
    """Torch's global seed; in a group of processes that of the first, which all of them must ask for together."""
    seed = torch.initial_seed()
    if not (dist.is_available() and dist.is_initialized()):
        return seed
    values: list[int] = [seed]
    dist.broadcast_object_list(values, src=0)
    return values[0]
