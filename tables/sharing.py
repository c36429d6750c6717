"""Tables of which several share one matrix, whose size may be the sum of what each of them would take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from recsys.tables.base import Table
from recsys.tables.budget import Budget, Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable


class SharingTable(Table):
    """What tables that share a matrix have in common: its name, the size of it, and shares that add up.

    See the subclasses for the arguments.
    """

    sizes = Table.sizes | {"storage"}

    def share(
        self,
        num_rows: int | None,
        budget_bytes: Bytes | None,
        budget_fraction: Fraction | None,
        row_dim: int,
        storage: str,
        init_std: float,
        max_rows: int = 1 << 31,
    ) -> None:
        """Note the shared matrix as the arguments of the table describe it.

        Raises:
            ValueError: unless exactly one size is given, and at least one row.
        """
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        self._share_bytes = None if budget is None or budget.fraction is None else budget.num_bytes
        self._unmet: Budget | None = None
        row_bytes = 4 * row_dim
        if budget is not None:
            # A share of a matrix may be less than a row of it.
            self._unmet = budget if self._share_bytes is not None and budget.num_bytes < row_bytes else None
            num_rows = 1 if self._unmet else budget.largest(lambda rows: row_bytes * rows, 1, max_rows)
        assert num_rows is not None
        self.require("num_rows", num_rows, 1, max_rows)
        self.num_rows = num_rows
        self.row_dim = row_dim
        if not storage:
            raise ValueError(f"{type(self).__name__} '{self.name}': storage must be the name of a matrix, got ''.")
        self.storage = storage
        self.init_std = init_std

    def sized_among(self, tables: Sequence[Table]) -> Table:
        """With a budget_fraction, a table of as many rows as the shares of all tables of this storage buy together."""
        sharing = [table for table in tables if isinstance(table, type(self)) and table.storage == self.storage]
        shares = [table._share_bytes for table in sharing if table._share_bytes is not None]
        if self._share_bytes is None or len(shares) == 1:
            return self
        if sum(shares) < 4 * self.row_dim:
            return self
        size = {"budget_fraction": None, "num_rows": sum(shares) // (4 * self.row_dim)}
        arguments: dict[str, Any] = {**self.arguments, **size}
        return type(self)(**arguments)

    def shared_matrix(self) -> PhysicalTable:
        """The matrix.

        Raises:
            ValueError: if its budget, or all shares of it, are less than a row.
        """
        if self._unmet is not None:
            self._unmet.require(4 * self.row_dim)
        return PhysicalTable(self.storage, self.num_rows, self.row_dim, self.init_std)
