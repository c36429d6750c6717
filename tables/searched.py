"""Tables that search for what is worth keeping of their rows while they train."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from recsys.tables.base import Constants, Table
from recsys.tables.physical import PhysicalTable


class SearchedTable(Table):
    """A table with one row of D values per id, of which it learns what to keep.

    Once searched, what scores highest within a budget is selected, trained again from its initial values as a table
    that has nothing else, and served so.
    """

    linear = False

    selects_rows: ClassVar[bool]
    """Whether whole rows are kept or not; otherwise every value for itself."""

    init_std: float

    def physical_tables(self) -> tuple[PhysicalTable, ...]:
        """One matrix, V x D."""
        return (PhysicalTable(self.name, self.num_embeddings, self.embedding_dim, self.init_std),)

    def route(self, ids: Tensor, constants: Constants) -> Tensor:
        """The id is the row."""
        return ids

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Equal: the id's row is its vector, as nothing has been searched yet."""
        rows[self.name][ids] = vectors

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """A row more for each id."""
        return {"num_embeddings": num_embeddings}

    @abstractmethod
    def scores(self, rows: Tensor) -> Tensor:
        """What rows [M, D] are worth, [M], or each of their values, [M, D]; kept is what scores above 0."""
