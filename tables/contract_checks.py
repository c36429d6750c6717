"""What a table's own methods must give, for those who write one: kinds and shapes, which cost nothing to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recsys.tables.physical import PhysicalTable

if TYPE_CHECKING:
    from recsys.tables.base import Table


def check_matrices_of(table: Table) -> None:
    """Refuse what are no matrices of a table.

    Raises:
        TypeError: naming the table and what its physical_tables() gives.
    """
    given = table.physical_tables()
    if not isinstance(given, tuple | list) or not all(isinstance(each, PhysicalTable) for each in given):
        raise TypeError(
            f"{type(table).__name__} '{table.name}': physical_tables() must give a tuple of PhysicalTables, got "
            f"{given!r}."
        )


def check_routed(table: Table, rows: object, num_lookups: int, num_ids: int) -> None:
    """Refuse what are no rows [..., K, N] of ids.

    Raises:
        TypeError: naming the table and what its route() gives.
    """
    if _is_program():
        return
    is_fine = isinstance(rows, Tensor) and rows.dtype in (torch.int64, torch.int32) and rows.dim() >= 2
    if not is_fine or not isinstance(rows, Tensor) or tuple(rows.shape[-2:]) != (num_lookups, num_ids):
        raise TypeError(
            f"{type(table).__name__} '{table.name}': route() must give integers [..., K={num_lookups}, N={num_ids}], a "
            f"row of each matrix for each id, got {_told(rows)}."
        )


def check_combined(table: Table, vectors: object, leading: Sequence[int]) -> None:
    """Refuse what are no vectors [N, G, D] of ids.

    Raises:
        TypeError: naming the table and what its combine() gives.
    """
    if _is_program():
        return
    wanted = (*leading, table.embedding_dim)
    if not isinstance(vectors, Tensor) or not vectors.is_floating_point() or tuple(vectors.shape) != wanted:
        raise TypeError(
            f"{type(table).__name__} '{table.name}': combine() must give floats {list(wanted)}, a vector for each id, "
            f"got {_told(vectors)}."
        )


def _is_program() -> bool:
    """Whether sizes are those of a program that is made, and not numbers."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _told(given: object) -> str:
    return f"{list(given.shape)} of {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
