"""Tables whose rows pass from id to id while they train."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from recsys.tables.base import Table
from recsys.tables.lookups.optimizers import DenseGradient, TableOptimizer


@dataclass(frozen=True)
class FreshRows:
    """Rows that have just been given to other ids, and the vectors that those ids start from.

    Shape:
        rows [M], distinct; values [M, row_dim]
    """

    rows: Tensor
    values: Tensor


class DynamicTable(Table, ABC):
    """A table with one matrix of its own that decides, from the ids it is shown, which of them has a row.

    In training mode it is shown the ids of every batch, before they are routed, once; in evaluation mode it stays as
    it is. Its routing depends on its own state, so it shares a group with no other table.
    """

    @abstractmethod
    def observe(self, ids: Tensor) -> FreshRows | None:
        """Take note of the ids [N] of one training batch; None if every row stays with its id."""

    @property
    def matrix(self) -> str:
        """Name of the one matrix."""
        (physical,) = self.physical_tables()
        return physical.name

    def signature(self) -> tuple[object, ...]:
        """Equal to no other table's."""
        return (*super().signature(), self.name)


def check_dynamic_tables(tables: Mapping[str, Table], optimizers: Mapping[str, TableOptimizer]) -> None:
    """Refuse what would let an id inherit what another has learnt.

    Args:
        tables: all tables of a collection.
        optimizers: of every matrix, by name.

    Raises:
        ValueError: if another table reads a dynamic table's matrix, or its optimizer state is out of reach.
    """
    for entry, table in tables.items():
        if not isinstance(table, DynamicTable):
            continue
        for other_entry, other in tables.items():
            if other_entry != entry and table.matrix in {physical.name for physical in other.physical_tables()}:
                raise ValueError(
                    f"tables '{entry}' and '{other_entry}' share physical table '{table.matrix}', whose rows "
                    f"{type(table).__name__} gives from id to id; give them two names."
                )
        if isinstance(optimizers[table.matrix], DenseGradient):
            raise ValueError(
                f"{type(table).__name__} '{table.name}': its optimizer must be one whose state starts afresh with a "
                "row, got DenseGradient; choose SGD, Adagrad, RowWiseAdagrad or Adam as table_optimizer."
            )
