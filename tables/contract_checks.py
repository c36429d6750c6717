"""What a table's own methods must give, for those who write one: kinds and shapes, which cost nothing to look at."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recsys.tables.physical import PhysicalTable

if TYPE_CHECKING:
    from recsys.tables.base import Table


_PROBES = 64
_NO_ROW = "; a table that gives -1, no row, says leaves_out = True"


def check_made(table: Table) -> None:
    """Refuse a table whose own __init__ has not called that of Table: all else would fail at an attribute.

    Raises:
        TypeError: naming its class.
    """
    if "embedding_dim" not in vars(table):
        kind = type(table).__name__
        raise TypeError(f"{kind}: its __init__ must begin with super().__init__(name, num_embeddings, embedding_dim).")


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
    _check_routes(table, given)


def _check_routes(table: Table, matrices: Sequence[PhysicalTable]) -> None:
    """Refuse a table some of whose ids, spread over all, read rows that are none of its own: others may lie there."""
    if not matrices or table.awaits_checkpoint or _is_program() or not _is_at_hand(table):
        return
    last = table.num_embeddings - 1
    ids = torch.tensor([*range(0, last, max(1, last // _PROBES)), last])
    rows = table.rows_of(ids)
    check_routed(table, rows, len(matrices), len(ids))
    lowest = -1 if table.leaves_out else 0
    for physical, own in zip(matrices, rows.reshape(len(matrices), -1), strict=True):
        wrong = own[(own < lowest) | (own >= physical.num_rows)]
        if len(wrong):
            hint = _NO_ROW if int(wrong[0]) == -1 else ""
            raise ValueError(
                f"{type(table).__name__} '{table.name}': route() must give rows of matrix '{physical.name}' in "
                f"[{lowest}, {physical.num_rows}), got {int(wrong[0])}{hint}."
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


def _is_at_hand(table: Table) -> bool:
    """Whether what routes ids has values that cost nothing to ask for."""
    kept = (*table.buffers(), *table.parameters(), torch.empty(0))
    return all(each.device.type == "cpu" and type(each) in (Tensor, nn.Parameter) for each in kept)


def _is_program() -> bool:
    """Whether sizes are those of a program that is made, and not numbers."""
    return torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None


def _told(given: object) -> str:
    return f"{list(given.shape)} of {given.dtype}" if isinstance(given, Tensor) else type(given).__name__
