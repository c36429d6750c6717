"""Which process holds which matrix: small ones whole, on the process with the least so far, large ones by rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from recsys.tables.base import PhysicalTable


@dataclass(frozen=True)
class Placement:
    """Where a matrix is.

    Args:
        rank: the one process that holds it; None if every process holds a range of its rows.
        rank_bytes: bytes on each process, float32.
    """

    rank: int | None
    rank_bytes: tuple[int, ...]


def place_tables(
    tables: Sequence[PhysicalTable], num_ranks: int, padded: Callable[[int], int] = lambda row_dim: row_dim
) -> dict[str, Placement]:
    """Place matrices so that no process holds much more than another.

    A matrix larger than a process' fair share is split by rows; the others go whole, largest first, to the process that
    holds the least so far, which sends each id to one process only.

    Args:
        tables: the matrices.
        num_ranks: processes.
        padded: width that a row takes in memory.
    """
    num_bytes = {table.name: 4 * table.num_rows * padded(table.row_dim) for table in tables}
    share = sum(num_bytes.values()) / num_ranks
    load = [0] * num_ranks
    found: dict[str, Placement] = {}
    for table in sorted(tables, key=lambda table: (-num_bytes[table.name], table.name)):
        if num_ranks > 1 and num_bytes[table.name] > share:
            placement = Placement(None, _rows_by_rank(table, num_ranks, padded(table.row_dim)))
        else:
            rank = load.index(min(load))
            placement = Placement(rank, tuple(num_bytes[table.name] * (r == rank) for r in range(num_ranks)))
        load = [before + more for before, more in zip(load, placement.rank_bytes, strict=True)]
        found[table.name] = placement
    return {table.name: found[table.name] for table in tables}


def _rows_by_rank(table: PhysicalTable, num_ranks: int, width: int) -> tuple[int, ...]:
    """Blocks of equal length, the last ones shorter or empty, as torchrec cuts them."""
    block = -(-table.num_rows // num_ranks)
    return tuple(4 * width * max(0, min(block, table.num_rows - rank * block)) for rank in range(num_ranks))
