"""Columns by their Shapley values."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, compact, constant, whole


class Shaver(Method):
    """Keeps the columns of each table that save the most loss per byte; the others take the table's mean by frequency.

    Source: Zhu et al., "Shaver" (arXiv:2411.13052): Shapley values of columns in the manner of SAGE, and a codebook
    instead of zeros.

    Differs from the paper: columns go whole, so that nothing is spent on saying which values are left.
    """

    name = "shaver"
    needs_column_values = True

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        left = budget_bytes - sum(4 * table.embedding_dim for table in tables)
        if left < 0:
            raise self.refuse(budget_bytes, budget_bytes - left)
        kept: dict[str, list[int]] = {table.name: [] for table in tables}
        for _, number, column in sorted(_columns(tables), reverse=True):
            table = tables[number]
            cost = 4 * table.num_embeddings
            # The last column makes the common vector needless.
            if len(kept[table.name]) == table.embedding_dim - 1:
                cost -= 4 * table.embedding_dim
            if cost <= left:
                kept[table.name].append(column)
                left -= cost
        found = {table.name: _shaved(table, sorted(kept[table.name])) for table in tables}
        assert bytes_of(found) <= budget_bytes
        return found


def _columns(tables: Sequence[TrainedTable]) -> list[tuple[float, int, int]]:
    """Loss saved per byte, table and column."""
    found = []
    for number, table in enumerate(tables):
        assert table.column_values is not None
        for column, value in enumerate(table.column_values.tolist()):
            found.append((value / table.num_embeddings, number, column))
    return found


def _shaved(table: TrainedTable, columns: list[int]) -> Compressed:
    if len(columns) == table.embedding_dim:
        return whole(table)
    if not columns:
        return constant(table)
    return compact(table, torch.ones(table.num_embeddings, dtype=torch.bool), columns, table.mean())
