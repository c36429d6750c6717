"""Multi-layer embedding training: rows wider than the vectors and a projection, multiplied out to be served.

Source: Deng et al., "Learning to train a better embedding: multi-layer embedding training" (2023), arXiv:2309.15881.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.full import FullTable
from recsys.tables.physical import PhysicalTable, named_generator
from recsys.tables.upkeep import Rows
from recsys.tables.vectors import vectors_of_all

_BLOCK = 1 << 16
"""Ids whose rows are computed at a time."""


class MLETTable(Table):
    """Rows of inner_dim values, more than D, times a learned projection, without bias; served as one row of D per id.

    Every vector is a combination of the same D directions, which all ids train: rare ids move with the frequent ones.

    Shape:
        ids [N] -> embeddings [N, D]; memory while training V rows of inner_dim and a projection of inner_dim x D; when
        served V rows of D.

    Differs from the paper: the projection starts semi-orthogonal, so that vectors have exactly the deviation of rows.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        inner_dim: width of the rows while training, at least D; None takes four times D.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: if inner_dim is below D.
    """

    repeats_cost = True

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        inner_dim: int | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.inner_dim = 4 * embedding_dim if inner_dim is None else inner_dim
        if self.inner_dim < embedding_dim:
            raise ValueError(
                f"MLETTable '{name}': inner_dim must be at least embedding_dim={embedding_dim}, got {inner_dim!r}; "
                "MixedDimTable has narrower rows."
            )
        self.require("inner_dim", self.inner_dim, embedding_dim)
        self.init_std = init_std
        projection = torch.empty(self.inner_dim, embedding_dim)
        nn.init.orthogonal_(projection, generator=named_generator(f"{name}/projection"))
        self.projection = nn.Parameter(projection)

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One wide matrix."""
        return (PhysicalTable(self.name, self.num_embeddings, self.inner_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """Project every table's rows with its own matrix: one batched product for the whole group."""
        return torch.bmm(rows.transpose(0, 1), parameters["projection"].to(rows.dtype)).transpose(0, 1)

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Equal to rounding, by the smallest rows that the projection makes vectors of, as long as it has rank D."""
        inverse = torch.linalg.pinv(self.projection.double())
        for part, some in zip(vectors.split(_BLOCK), ids.split(_BLOCK), strict=True):
            rows[self.name][some] = (part.double() @ inverse).to(part.dtype)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id, and the same projection."""
        return {"num_embeddings": num_embeddings}

    def served(self, rows: Rows) -> tuple[Table, dict[str, Tensor]]:
        """A FullTable of the products."""
        table = FullTable(self.name, self.num_embeddings, self.embedding_dim, init_std=self.init_std)
        return table, {self.name: vectors_of_all(self, rows)}

    def served_bytes(self) -> int:
        """One row of D per id."""
        return self.logical_bytes()
