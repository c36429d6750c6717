"""Tables of which single values are kept: what unstructured pruning leaves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.least_squares import mean_without
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.ranks import count_bits, more_words, rank

_BLOCK = 1 << 14
"""Ids whose values are found at a time."""


class SparseTable(Table):
    """A vector common to all ids, and single values that some ids differ from it by.

    Source: magnitude pruning, as in Han et al., "Learning both weights and connections" (arXiv:1506.02626); with a
    common vector that is not zeros, Zhu et al., "Shaver" (arXiv:2411.13052).

    Shape:
        ids [N] -> embeddings [N, D]; memory a matrix of num_values x 1, the common vector [D] and, with `entries`, 12
        bytes for 64 ids and 12 for 64 values of the ids that have any. An id reads D rows of one value, most of them
        none.

    Differs from the papers: what is kept is given to it. Bits find the values, instead of the columns and row starts of
    CSR: an eighth of a byte and a half for each of an id's D columns, instead of 1 to 4 bytes for each value and 4 for
    each id.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_values: so many values are kept, those of the first ids; or give one of:
        budget_bytes: float32 bytes that values and common vector may take.
        budget_fraction: the same as a fraction of the full table's bytes.
        entries: words of `routing.ranks.pack_bits` that say which of the D columns of each id in `kept` have a value.
        kept: which ids have any value; with `entries`.
        init_std: standard deviation of the initial values.

    Raises:
        ValueError: unless exactly one size is given and in range, or if `kept` is without `entries` or has no id.
    """

    linear = False
    leaves_out = True
    sizes = Table.sizes | {"num_values", "entries", "kept"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_values: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        entries: Tensor | None = None,
        kept: Tensor | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if (entries is None) != (kept is None):
            raise ValueError(f"SparseTable '{name}': give entries and kept together, or neither.")
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_values=num_values, entries=entries)
        if budget is not None:
            num_values = budget.largest(lambda values: 4 * (values + embedding_dim), 1, num_embeddings * embedding_dim)
        if entries is not None and kept is not None:
            num_kept = self.register_kept("kept", kept, num_embeddings)
            if not num_kept:
                raise ValueError(f"SparseTable '{name}': kept has no id; give num_values=0.")
            num_values = self.register_kept("entries", entries, num_kept * embedding_dim)
        else:
            assert num_values is not None
            self.require("num_values", num_values, 0)
        self.num_values = min(num_values, num_embeddings * embedding_dim)
        self.init_std = init_std
        self.register_constants(num_first=[self.num_values])
        self.common = nn.Parameter(torch.zeros(embedding_dim))

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix of one column, read D times; none if nothing is kept."""
        if not self.num_values:
            return ()
        return (PhysicalTable(self.name, self.num_values, 1, self.init_std),) * self.embedding_dim

    def signature(self) -> tuple[object, ...]:
        """Tables that say what they keep route otherwise than those that keep the first."""
        return (*super().signature(), "entries" in self.per_id_names)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The number of the value in each column, or none."""
        columns = torch.arange(self.embedding_dim, device=ids.device).unsqueeze(-1)
        if "entries" not in constants:
            places = ids.long() * self.embedding_dim + columns  # narrower integers would overflow
            return torch.where(places < constants["num_first"], places, -1)
        rows = rank(ids, constants["kept"], constants["before_kept"])
        places = rows.clamp(min=0) * self.embedding_dim + columns
        found = rank(places, constants["entries"], constants["before_entries"])
        return torch.where(rows < 0, -1, found)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """The common vector, and what the values add to it."""
        common = parameters["common"].to(rows.dtype)
        if not rows.shape[-1]:
            return common.expand(*rows.shape[:-1], self.embedding_dim)
        return rows + common

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Least squares: equal where there are values, in every column the mean of all others elsewhere."""
        blocks = list(zip(vectors.split(_BLOCK), ids.split(_BLOCK), strict=True))
        found = torch.cat([(self.rows_of(some) >= 0).t() for _, some in blocks])
        self.common.copy_(mean_without(found if rows else torch.zeros_like(found), vectors))
        for matrix in rows.values():
            for part, some in blocks:
                places = self.rows_of(some).t()
                matrix[places[places >= 0], 0] = (part - self.common)[places >= 0]

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same values; new ids have none."""
        sizes = {"num_embeddings": num_embeddings, "budget_bytes": None, "budget_fraction": None}
        if "kept" not in self.per_id_names:
            return {**sizes, "num_values": self.num_values}
        return {**sizes, "kept": more_words(self.get_buffer("kept"), num_embeddings)}

    def expected_collisions(self) -> float:
        """Ids that share the common vector with one before them."""
        with_values = -(-self.num_values // self.embedding_dim)
        if "kept" in self.per_id_names:
            with_values = int(count_bits(self.get_buffer("kept")).sum())
        return float(max(0, self.num_embeddings - with_values - 1))
