"""Path-based compositional table: a row of the first partition goes through a small network of the second.

Source: Shi et al., "Compositional embeddings using complementary partitions" (KDD 2020), arXiv:1909.02107, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.budget import Bytes, Fraction, size_or_budget
from recsys.tables.grouped import grouped_product
from recsys.tables.path_fit import fit_paths
from recsys.tables.physical import PhysicalTable
from recsys.tables.routing.partitions import ceil_div

MAX_PATHS = 1024
"""An id reads a whole network: a bank of many would cost more bytes than the rows that it saves."""


class PathQRTable(Table):
    """Id x reads row x mod m of a matrix, and passes it through network x // m of a bank: D, hidden_dim (ReLU), D.

    Every id keeps a pair of row and network of its own. The bank's weights are rows like any other, read and trained
    for the networks that a batch uses; each id reads its network whole, 2 D hidden_dim values and biases, and where ids
    are on a CPU, a collection does so once for those that repeat in a batch.

    Shape:
        ids [N] -> embeddings [N, D]; memory m rows of D and ceil(V / m) networks.

    Differs from the paper: weights are drawn so that the vector starts with standard deviation init_std, and biases
    start at 0.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        num_rows: m, rows of the first partition, from ceil(V / 1024) to V; or give one of:
        budget_bytes: the largest m whose rows and bank fit these bytes in float32.
        budget_fraction: the same as a fraction of the full table's bytes.
        hidden_dim: width of each network's hidden layer; the paper tries 16 to 128.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: unless exactly one size is given, one is out of range, or a budget cannot be met.
    """

    linear = False
    repeats_cost = True
    shares_rows = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        num_rows: int | None = None,
        budget_bytes: Bytes | None = None,
        budget_fraction: Fraction | None = None,
        hidden_dim: int = 16,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.require("hidden_dim", hidden_dim, 1)
        self.hidden_dim, self.init_std = hidden_dim, init_std
        fewest = ceil_div(num_embeddings, MAX_PATHS)
        budget = size_or_budget(self, budget_bytes, budget_fraction, num_rows=num_rows)
        if budget is not None:
            num_rows = budget.largest(self._bytes_of, self._cheapest(), num_embeddings)
        assert num_rows is not None
        self.require("num_rows", num_rows, fewest, num_embeddings, "num_embeddings")
        self.num_rows = num_rows
        self.num_paths = ceil_div(num_embeddings, num_rows)
        self.register_constants(divisor=[1, *[num_rows] * 3], modulus=[num_rows, *[self.num_paths] * 3])

    @property
    def _network_values(self) -> int:
        return (2 * self.embedding_dim + 1) * self.hidden_dim + self.embedding_dim

    def _bytes_of(self, num_rows: int) -> int:
        num_paths = ceil_div(self.num_embeddings, num_rows)
        return 4 * (num_rows * self.embedding_dim + num_paths * self._network_values)

    def _cheapest(self) -> int:
        """The number of rows that takes the least bytes: for each number of networks, as few rows as it leaves."""
        most = min(MAX_PATHS, self.num_embeddings)
        return min((ceil_div(self.num_embeddings, paths) for paths in range(1, most + 1)), key=self._bytes_of)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """The rows; and, with a row for each network, the weights into its hidden layer, out of it, and the biases."""
        dim, hidden = self.embedding_dim, self.hidden_dim
        # Half of the second moment of a symmetric number is left by ReLU, so that rows keep theirs through 2 / D.
        return (
            PhysicalTable(self.name, self.num_rows, dim, self.init_std),
            PhysicalTable(f"{self.name}/in", self.num_paths, dim * hidden, math.sqrt(2 / dim)),
            PhysicalTable(f"{self.name}/out", self.num_paths, hidden * dim, math.sqrt(1 / hidden)),
            PhysicalTable(f"{self.name}/biases", self.num_paths, hidden + dim, 0.0),
        )

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The remainder, and three times the quotient."""
        return ids // constants["divisor"] % constants["modulus"]

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Each row through its network."""
        dim, hidden = self.embedding_dim, self.hidden_dim
        row, weights_in, weights_out, biases = rows.split([dim, dim * hidden, hidden * dim, hidden + dim], dim=-1)
        inner, outer = biases.split([hidden, dim], dim=-1)
        activation = torch.relu((row.unsqueeze(-2) @ weights_in.unflatten(-1, (dim, hidden))).squeeze(-2) + inner)
        return (activation.unsqueeze(-2) @ weights_out.unflatten(-1, (hidden, dim))).squeeze(-2) + outer

    def combine_shared(self, pieces: Sequence[Tensor], places: Tensor) -> Tensor:
        """The same, the rows of each network together."""
        (row, weights_in, weights_out, biases), (dim, hidden) = pieces, (self.embedding_dim, self.hidden_dim)
        inner, outer = biases.index_select(0, places[3]).unsqueeze(1).split([hidden, dim], dim=-1)
        rows = row.index_select(0, places[0]).unsqueeze(1)
        activation = torch.relu(grouped_product(rows, weights_in.unflatten(-1, (dim, hidden)), places[1]) + inner)
        return (grouped_product(activation, weights_out.unflatten(-1, (hidden, dim)), places[2]) + outer).squeeze(1)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """See `fit_paths`: least squares among the networks that are affine on their rows."""
        dim, hidden = self.embedding_dim, self.hidden_dim
        matrix, weights_in, weights_out, biases = rows.values()
        found = fit_paths(vectors, ids, matrix, weights_in.unflatten(1, (dim, hidden)))
        matrix.copy_(found.rows)
        weights_in.copy_(found.weights_in.flatten(1))
        weights_out.copy_(found.weights_out.flatten(1))
        biases.copy_(torch.cat([found.inner, found.outer], 1))

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """The same rows, and more networks.

        Raises:
            ValueError: if there would be too many of them.
        """
        most = self.num_rows * MAX_PATHS
        if num_embeddings > most:
            raise ValueError(
                f"PathQRTable '{self.name}' cannot grow to num_embeddings={num_embeddings}: {self.num_rows} rows and "
                f"at most {MAX_PATHS} networks tell {most} ids apart; make a new table."
            )
        sizes = {"num_rows": self.num_rows, "budget_bytes": None, "budget_fraction": None}
        return {"num_embeddings": num_embeddings, **sizes}
