"""The vectors of all ids of a table."""

from __future__ import annotations

import torch
from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.upkeep import Rows

_BLOCK = 1 << 16
"""Ids that are computed at a time."""


@torch.no_grad()
def vectors_of_all(table: Table, rows: Rows) -> Tensor:
    """The vector of every id of a table: [V, D] float32; several processes must make the call together.

    Args:
        table: its state decides which rows an id reads.
        rows: where its rows are.
    """
    device = next((tensor.device for tensor in (*table.parameters(), *table.buffers())), torch.device("cpu"))
    found = torch.empty(table.num_embeddings, table.embedding_dim, device=device)
    for start in range(0, table.num_embeddings, _BLOCK):
        ids = torch.arange(start, min(start + _BLOCK, table.num_embeddings), device=device)
        found[start : start + len(ids)] = table.vectors_of(_read(table, rows, ids), ids)
    return found


def _read(table: Table, rows: Rows, ids: Tensor) -> Tensor:
    """Rows side by side [N, W]; for -1 zeros."""
    pieces = [torch.zeros(len(ids), 0, device=ids.device)]
    if table.physical_tables():
        for physical, numbers in zip(table.physical_tables(), table.rows_of(ids), strict=True):
            distinct, places = numbers.clamp(min=0).unique(return_inverse=True)
            values = rows.read_rows(physical.name, distinct).to(torch.float32)[places]
            pieces.append(values.masked_fill(numbers.unsqueeze(1) < 0, 0))
    return torch.cat(pieces, 1)
