"""Hash embeddings: several hashed rows per id, summed with importance weights that are learned per id.

Source: Svenstrup, Hansen and Winther, "Hash embeddings for efficient word representations" (NeurIPS 2017),
arXiv:1709.03933.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.least_squares import reads_of, solve_rows
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.hashes import MAX_LOOKUPS, bucket, expected_collisions, name_seeds

_TURNS = 3
"""Of rows and weights, where a table starts from given vectors."""


class HashEmbeddingTable(Table):
    """An id's vector is a weighted sum of num_lookups hashed rows; the weights are a row of a second, narrow matrix.

    Shape:
        ids [N] -> embeddings [N, D]; memory num_rows rows of D and num_weights rows of num_lookups.

    Differs from the paper: weights start at 1, where the authors draw them around 0 with deviation .0005, which makes
    the first vectors almost 0; no weights are appended to the vector; hashes are computed, not stored.

    Args:
        name: feature or table name; it seeds the hashes.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: rows shared by all ids; or give one of:
        budget_bytes: bytes both matrices may take in float32; weights have num_weights rows, or up to half of it.
        budget_fraction: the same as a fraction of the full table's bytes.
        num_lookups: K, rows per id, at most 32.
        num_weights: rows of importance weights; with V or more every id has its own, with fewer they are hashed. By
            default V, or what half of a budget buys if that is less.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, or if it is below one row of each matrix.
    """

    linear = False
    repeats_cost = True
    sizes = Table.sizes | {"num_weights"}

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        num_lookups: int = 2,
        num_weights: int | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("num_lookups", num_lookups, 1, MAX_LOOKUPS)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            budget.require(4 * (embedding_dim + num_lookups))
            half, rest = budget.num_bytes // 2, budget.num_bytes - 4 * embedding_dim
            affordable = max(1, min(half, rest) // (4 * num_lookups))
            num_weights = min(num_embeddings, affordable) if num_weights is None else num_weights
            weight_bytes = 4 * num_lookups * num_weights
            num_rows = budget.largest(lambda rows: weight_bytes + 4 * rows * embedding_dim, 1, num_embeddings)
        assert num_rows is not None
        self.require("num_rows", num_rows, 1, 1 << 31)
        self.require("num_weights", 1 if num_weights is None else num_weights, 1)
        self.num_weights = min(num_embeddings, num_weights or num_embeddings)
        self.num_rows = num_rows
        self.num_lookups = num_lookups
        self.init_std = init_std
        # The last hash is that of the weights; an id below num_weights == V is its own.
        buckets = [num_rows] * num_lookups + [0 if self.num_weights == num_embeddings else self.num_weights]
        self.register_constants(seed=name_seeds(name, num_lookups + 1), num_buckets=buckets)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix read K times, and one of weights that start at 1."""
        row_std = self.init_std / math.sqrt(self.num_lookups)
        rows = PhysicalTable(self.name, self.num_rows, self.embedding_dim, row_std)
        weights = PhysicalTable(f"{self.name}/weights", self.num_weights, self.num_lookups, 0.0, init_mean=1.0)
        return (*(rows,) * self.num_lookups, weights)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """One hash per lookup, and the id's weights."""
        buckets = constants["num_buckets"]
        return bucket(ids, constants["seed"], buckets) + ids * (buckets == 0)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Weighted sum of the K rows."""
        width = self.num_lookups * self.embedding_dim
        vectors = rows[..., :width].unflatten(-1, (self.num_lookups, self.embedding_dim))
        return (vectors * rows[..., width:].unsqueeze(-1)).sum(-2)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Rows for weights of 1, by least squares; then weights and rows in turns, each the best for the other."""
        matrix, weights = rows[self.name], rows[f"{self.name}/weights"]
        codes, ones = self.rows_of(ids), torch.ones_like(weights)
        weights.copy_(ones)
        for _ in range(_TURNS):
            given = weights[codes[-1]]

            def combine(matrices: Sequence[Tensor], places: Tensor, given: Tensor = given) -> Tensor:
                found = matrices[0][codes[:-1, places]]
                return (found * given[places].t().unsqueeze(2)).sum(0)

            solve_rows(combine, [matrix], reads_of([codes[:-1].reshape(-1)], [matrix]), vectors)
            if self.num_weights < self.num_embeddings:
                return
            found = matrix[codes[:-1]].transpose(0, 1)
            ridge = 1e-6 * found.square().sum((1, 2), keepdim=True).clamp(min=1e-12)
            gram = found @ found.mT + ridge * torch.eye(self.num_lookups).to(found)
            weights[codes[-1]] = torch.linalg.solve(gram, found @ vectors.unsqueeze(2)).squeeze(2)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows; a row of weights more for each id, if each has its own."""
        num_weights = num_embeddings if self.num_weights == self.num_embeddings else self.num_weights
        sizes = {"budget_bytes": None, "budget_fraction": None, "num_rows": self.num_rows, "num_weights": num_weights}
        return {"num_embeddings": num_embeddings, **sizes}

    def expected_collisions(self) -> float:
        """Ids expected to read the same rows, and the same weights, as one before them; 0 with weights of their own."""
        if self.num_weights == self.num_embeddings:
            return 0.0
        return expected_collisions(self.num_embeddings, [*[self.num_rows] * self.num_lookups, self.num_weights])
