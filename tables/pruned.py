"""Tables whose ids do not all have a row: what pruning leaves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable


class PrunedTable(Table):
    """Some ids have a row each; the others have none, and their vector is zeros.

    Source: row pruning as in Deng et al., "DeepLight" (arXiv:2002.06987) and others, with whole rows.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D and, with `rows`, 4 bytes per id.

    Differs from the papers: rows that are kept are chosen before training, or come from what has chosen them.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: the first num_rows ids have a row, all of them if there are no more: the most frequent ones where ids
            are by falling count; or give one of:
        budget_bytes: bytes the matrix may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        rows: [V] int32, the row of each id or -1; kept with the checkpoint.
        init_std: standard deviation of the initial vectors of ids that have a row.

    Raises:
        ValueError: unless exactly one size is given, or if rows are not numbered from 0 without gaps.
    """

    leaves_out = True
    sizes = Table.sizes | {"rows"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        rows: Tensor | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows, rows=rows)
        if budget is not None:
            num_rows = budget.largest(lambda rows: 4 * rows * embedding_dim, 1, num_embeddings)
        if rows is not None:
            self.register_per_id(rows=rows.to(torch.int32))
            num_rows = self._count(rows)
        assert num_rows is not None
        self.require("num_rows", num_rows, 1)
        self.num_rows = min(num_rows, num_embeddings)
        self.init_std = init_std
        self.register_constants(num_kept=[self.num_rows])

    def _count(self, rows: Tensor) -> int:
        """How many rows there are; each must have an id."""
        kept = rows[rows >= 0].unique()
        if not len(kept) or int(rows.min()) < -1 or int(kept[-1]) != len(kept) - 1:
            raise ValueError(
                f"PrunedTable '{self.name}': rows must be -1 or numbers from 0 without gaps, got "
                f"{len(kept)} of them in [{int(rows.min())}, {int(rows.max())}]."
            )
        return len(kept)

    def signature(self) -> tuple[object, ...]:
        """Tables with given rows route otherwise than those without."""
        return (*super().signature(), "rows" in self.per_id_names)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of the rows that are kept."""
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's row, or none."""
        if "rows" in constants:
            rows: Tensor = constants["rows"](ids)
            return rows
        return torch.where(ids < constants["num_kept"], ids, -1)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows; new ids have none."""
        sizes = {"num_embeddings": num_embeddings, "budget_bytes": None, "budget_fraction": None}
        if "rows" not in self.per_id_names:
            return {**sizes, "num_rows": self.num_rows}
        rows = self.get_buffer("rows")
        return {**sizes, "rows": torch.cat([rows, rows.new_full((num_embeddings - self.num_embeddings,), -1)])}

    def expected_collisions(self) -> float:
        """Ids that share the vector of zeros with one before them."""
        absent = self.num_embeddings - self.num_rows
        if "rows" in self.per_id_names:
            absent = int((self.get_buffer("rows") < 0).sum())
        return float(max(0, absent - 1))
