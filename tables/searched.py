"""Tables that search for what is worth keeping of their rows while they train."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from recsys.tables.base import Constants, Table
from recsys.tables.physical import PhysicalTable


class SearchedTable(Table):
    """A table with one row of D values per id, of which it learns what to keep.

    Once searched, what scores highest within a budget is selected, trained again from its initial values as a table
    that has nothing else, and served so.
    """

    linear = False

    selects: ClassVar[Literal["rows", "values", "widths"]]
    """What is kept or not: whole rows, every value for itself, or the first columns of all rows."""

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
        """What is worth how much, of the matrices' rows laid side by side, [M, W].

        Rows, [M], and values, [M, D], are kept where they score above 0; of widths the one that scores highest is.
        """
