"""The uncompressed table."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants, Table
from recsys.tables.physical import PhysicalTable


class FullTable(Table):
    """One row per id.

    Shape:
        ids [N] -> embeddings [N, D]; memory V rows of D.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        init_std: standard deviation of the initial vectors.
    """

    def __init__(
        self, name: str, num_embeddings: int, embedding_dim: int, *, init_std: float = DEFAULT_INIT_STD
    ) -> None:
        super().__init__(name, num_embeddings, embedding_dim)
        self.init_std = init_std

    @property
    def keeps_vectors(self) -> bool:
        """Row i is the vector of id i."""
        return True

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self.init_std),)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id."""
        return {"num_embeddings": num_embeddings}

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids
