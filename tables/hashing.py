"""The hashing trick, with one or several hashed rows summed per id.

Sources: Weinberger et al., "Feature hashing for large scale multitask learning" (ICML 2009), arXiv:0902.2206;
several probes: Serrà and Karatzoglou, "Getting deep recommenders fit" (RecSys 2017), arXiv:1706.03993.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import MAX_LOOKUPS, bucket, expected_sum_collisions, name_seeds


class HashTable(Table):
    """Ids share num_rows rows; each reads num_lookups of them by seeded hashes and adds them up.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D.

    Differs from the paper: no sign hash; the hash is splitmix64 seeded by the feature's name and the probe number.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows of the feature's own matrix; or give one of:
        budget_bytes: bytes the matrix may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_lookups: K, hashed rows per id, at most 32.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if it is below one row.
    """

    sums = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_lookups: int = 1,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_lookups", num_lookups, 1, MAX_LOOKUPS)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(lambda rows: 4 * rows * embedding_dim, 1, num_embeddings)
        assert num_rows is not None
        self.require("num_rows", num_rows, 1, 1 << 31)
        self.num_rows = num_rows
        self.num_lookups = num_lookups
        self.init_std = init_std
        self.register_constants(seed=name_seeds(name, num_lookups), num_buckets=[num_rows] * num_lookups)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, read K times."""
        row_std = self.init_std / math.sqrt(self.num_lookups)
        return (PhysicalTable(self.name, self.num_rows, self.embedding_dim, row_std),) * self.num_lookups

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """One hash per lookup."""
        return bucket(ids, constants["seed"], constants["num_buckets"])

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Sum of the K rows."""
        if self.num_lookups == 1:
            return rows
        return rows.unflatten(-1, (self.num_lookups, self.embedding_dim)).sum(-2)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows: hashes do not depend on the number of ids."""
        return {
            "num_embeddings": num_embeddings,
            "num_rows": self.num_rows,
            "budget_bytes": None,
            "budget_fraction": None,
        }

    def expected_collisions(self) -> float:
        """Ids expected to add up the same rows as one before them."""
        return expected_sum_collisions(self.num_embeddings, self.num_rows, self.num_lookups)
