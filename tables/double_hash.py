"""Frequency-based double hashing: frequent ids have a row each, the others add up two hashed rows.

Source: Zhang et al., "Model size reduction using frequency based double hashing for recommender systems" (RecSys 2020),
arXiv:2007.14523.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import bucket, expected_sum_collisions, name_seeds

_HASHES = 2


class DoubleHashTable(Table):
    """The num_frequent most frequent ids have a row of their own; every other id is the sum of two hashed rows.

    Ids must be numbered by falling count, as `recsys prepare` numbers them: the first num_frequent are the frequent
    ones.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D, num_frequent of them owned.

    Differs from the paper: both hashes read one matrix, where the paper's wording allows one for each; they are
    splitmix64 seeded by the feature's name.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows in all, owned and shared; with V or more, every id owns one. Or give one of:
        budget_bytes: bytes the rows may take in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_frequent: ids with a row of their own, fewer than num_rows; by default half of the rows.
        init_std: standard deviation of the initial vectors, of frequent and of other ids alike.

    Raises:
        ValueError: unless exactly one size is given, or if there is no row left for one of the two kinds of ids.
    """

    sums = True
    leaves_out = True
    repeats_cost = True
    sizes = Table.sizes | {"num_frequent"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_frequent: int | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        if num_frequent is not None:
            self.require("num_frequent", num_frequent, 1)
        fewest = min(num_embeddings, (num_frequent or 1) + 1)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(lambda rows: 4 * rows * embedding_dim, fewest, num_embeddings)
        assert num_rows is not None
        self.require("num_rows", num_rows, fewest)
        self.num_rows = min(num_rows, num_embeddings)
        owned = self.num_rows // 2 if num_frequent is None else num_frequent
        self.num_frequent = num_embeddings if self.num_rows == num_embeddings else owned
        self.num_shared = self.num_rows - self.num_frequent
        self.require("num_rows", max(1, self.num_shared), 1, 1 << 31)
        self.init_std = init_std
        buckets = [self.num_shared] * _HASHES if self.num_shared else []
        self.register_constants(seed=name_seeds(name, len(buckets)), num_buckets=buckets, num_owned=[self.num_frequent])

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The owned rows, and the shared ones, read twice."""
        owned = PhysicalTable(f"{self.name}/frequent", self.num_frequent, self.embedding_dim, self.init_std)
        if not self.num_shared:
            return (owned,)
        row_std = self.init_std / math.sqrt(_HASHES)
        shared = PhysicalTable(f"{self.name}/shared", self.num_shared, self.embedding_dim, row_std)
        return (owned, *(shared,) * _HASHES)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id's own row and no other, or none and two that are hashed."""
        frequent = ids < constants["num_owned"]
        owned = torch.where(frequent, ids, -1)
        if not self.num_shared:
            return owned
        hashed = bucket(ids, constants["seed"], constants["num_buckets"])
        return torch.cat([owned, hashed.masked_fill(frequent, -1)], dim=-2)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Sum of the rows that there are."""
        return rows.unflatten(-1, (-1, self.embedding_dim)).sum(-2)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows, and new ids that share them; or a row more for each id, if each owns one."""
        sizes: dict[str, Any] = {"num_rows": self.num_rows, "num_frequent": self.num_frequent}
        if not self.num_shared:
            sizes = {"num_rows": num_embeddings, "num_frequent": None}
        return {"num_embeddings": num_embeddings, "budget_bytes": None, "budget_fraction": None, **sizes}

    def expected_collisions(self) -> float:
        """Ids without a row of their own that are expected to add up the same rows as one before them."""
        if not self.num_shared:
            return 0.0
        return expected_sum_collisions(self.num_embeddings - self.num_frequent, self.num_shared, _HASHES)
