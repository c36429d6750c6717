"""Which process holds which part of a matrix. The names of the ways to shard are torchrec's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.tables.lookups.fbgemm import KERNEL_ALIGNMENT

DATA_PARALLEL = "data_parallel"
TABLE_WISE = "table_wise"
ROW_WISE = "row_wise"
COLUMN_WISE = "column_wise"
TABLE_ROW_WISE = "table_row_wise"
GRID_SHARD = "grid_shard"
SHARDING_TYPES = (DATA_PARALLEL, TABLE_WISE, ROW_WISE, COLUMN_WISE, TABLE_ROW_WISE, GRID_SHARD)

Span = tuple[int, int]
"""First, and past the last."""


@dataclass(frozen=True)
class Shard:
    """A rectangle of a matrix on one process.

    Args:
        rank: the process.
        rows: its rows.
        columns: its columns.
    """

    rank: int
    rows: Span
    columns: Span

    @property
    def num_values(self) -> int:
        """Values held."""
        return (self.rows[1] - self.rows[0]) * (self.columns[1] - self.columns[0])


@dataclass(frozen=True)
class Placement:
    """Where a matrix is.

    Args:
        sharding_type: one of SHARDING_TYPES.
        shards: who holds what; with data_parallel every process holds all of it.
        compute_kernel: torchrec's name of where the rows are kept; None for its default, and for replicated rows.
    """

    sharding_type: str
    shards: tuple[Shard, ...]
    compute_kernel: str | None = None

    @property
    def ranks(self) -> tuple[int, ...]:
        """The processes that hold something, ascending."""
        return tuple(sorted({shard.rank for shard in self.shards if shard.num_values}))

    @property
    def width(self) -> int:
        """Values of a row."""
        return max(shard.columns[1] for shard in self.shards)

    @property
    def num_pieces(self) -> int:
        """Into how many pieces of columns the matrix is cut."""
        return len({shard.columns for shard in self.shards})

    def values_on(self, rank: int) -> int:
        """Values that a process holds."""
        return sum(shard.num_values for shard in self.shards if shard.rank == rank)

    def describe(self) -> str:
        """The placement in a few words."""
        ranks = ", ".join(map(str, self.ranks)) if len(self.ranks) < 9 else f"{len(self.ranks)} ranks"
        words = {
            DATA_PARALLEL: "replicated",
            TABLE_WISE: f"whole on {ranks}",
            COLUMN_WISE: f"columns over {ranks}",
            GRID_SHARD: f"grid over {ranks}",
        }
        return words.get(self.sharding_type, f"rows over {ranks}")


def replicated(num_rows: int, width: int, num_ranks: int) -> tuple[Shard, ...]:
    """All of the matrix on every process."""
    return tuple(Shard(rank, (0, num_rows), (0, width)) for rank in range(num_ranks))


def whole(num_rows: int, width: int, rank: int) -> tuple[Shard, ...]:
    """All of the matrix on one process."""
    return (Shard(rank, (0, num_rows), (0, width)),)


def by_rows(num_rows: int, width: int, ranks: Sequence[int]) -> tuple[Shard, ...]:
    """Blocks of equally many rows, the last ones shorter or empty, as torchrec cuts them."""
    return grid(num_rows, (0, width), ranks)


def grid(num_rows: int, columns: Span, ranks: Sequence[int]) -> tuple[Shard, ...]:
    """Blocks of rows of some columns."""
    block = -(-num_rows // len(ranks))
    starts = [min(block * place, num_rows) for place in range(len(ranks) + 1)]
    return tuple(Shard(rank, (starts[i], starts[i + 1]), columns) for i, rank in enumerate(ranks))


def cut_columns(width: int, at_most: int) -> list[Span]:
    """The width in as many equal pieces as possible, each of at least four values that kernels read together."""
    pieces = max([n for n in range(1, at_most + 1) if width % (n * KERNEL_ALIGNMENT) == 0], default=1)
    return [(width // pieces * i, width // pieces * (i + 1)) for i in range(pieces)]
