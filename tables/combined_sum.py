"""The vectors of several tables added up: an item's own beside those of what it is."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.combined import CombinedTable, PartFactory


class SumTable(CombinedTable):
    """The sum of the parts' vectors.

    Shape:
        ids [N] -> embeddings [N, D]; memory that of the parts, and D values of a bias.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        tables: makes each part, such as a FullTable and a SemanticIdTable.
        init_std: standard deviation of the initial vectors.
        shares: of each part in the variance of the initial vectors; by default equal ones. With a small one an id's own
            row begins near 0, and a rare item as what it shares with others.
        bias: add one vector to those of all ids, which begins at 0 and is trained as dense parameters are.

    Raises:
        ValueError: with fewer than two parts, one whose state changes outside its rows, or shares that do not fit.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        tables: Sequence[PartFactory],
        init_std: float = DEFAULT_INIT_STD,
        shares: Sequence[float] | None = None,
        bias: bool = False,
    ) -> None:
        shares = [1.0] * len(tables) if shares is None else list(shares)
        if len(shares) != len(tables) or not all(0 < share < math.inf for share in shares):
            raise ValueError(f"SumTable '{name}': shares must be {len(tables)} positive numbers, got {shares}.")
        dims, stds = [embedding_dim] * len(tables), [init_std * math.sqrt(share / sum(shares)) for share in shares]
        super().__init__(name, num_embeddings, embedding_dim, tables, dims, stds)
        self.bias = nn.Parameter(torch.zeros(embedding_dim)) if bias else None
        self.linear = self.linear and not bias  # type: ignore[misc]  # it is added once for every id of a bag

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Least squares where the parts are, of what the vectors' mean leaves if there is a bias; see `fit_sum`."""
        if self.bias is not None:
            self.bias.copy_(vectors.mean(0))
            vectors = vectors - self.bias.to(vectors.dtype)
        if self.linear and not list(self.parameters()):
            super().fit(vectors, ids, rows)
        else:
            self.fit_sum([torch.ones(len(ids))] * len(self._parts), vectors, ids, rows)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Their sum."""
        first, *others = self.part_vectors(rows, parameters, ids, constants)
        for other in others:
            first = first + other
        return first if self.bias is None else first + parameters["bias"].to(first.dtype)
