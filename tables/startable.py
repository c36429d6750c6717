"""How tables start from given vectors, and go on with more ids."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self, cast

from torch import Tensor

from recsys.tables.derived import Derived
from recsys.tables.least_squares import fit_linear


class Startable(Derived):
    """The two things that a method may know beyond training; see Table."""

    name: str
    num_embeddings: int

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Overwrite rows and parameters so that these ids have vectors closest, in squares, to given ones.

        By default a least-squares solution where `combine` is linear.

        Shape:
            vectors [N, D], ids [N] distinct, rows [R, row_dim] of each matrix by name

        Raises:
            ValueError: if there is no way to do so.
        """
        table = cast(Any, self)
        if not table.linear or not rows or any(True for _ in self.parameters()):
            raise ValueError(
                f"{type(self).__name__} '{self.name}': there is no way to start it from given vectors; use a table "
                "whose vectors are rows put together, or train it to reproduce them."
            )
        fit_linear(table, vectors, ids, rows)

    def grown(self, num_embeddings: int) -> Self:
        """A table of more ids whose rows begin with those of this one, and whose old ids read the same.

        Raises:
            ValueError: if the method has no such table, or there would be fewer ids.
        """
        cast(Any, self).require("num_embeddings", num_embeddings, self.num_embeddings)
        arguments: dict[str, Any] = {**self.arguments, **self.grown_arguments(num_embeddings)}
        return type(self)(**arguments)

    def grown_arguments(self, num_embeddings: int) -> dict[str, Any]:
        """What the constructor is given for more ids, where it differs."""
        raise ValueError(
            f"{type(self).__name__} '{self.name}' cannot grow to num_embeddings={num_embeddings}: there is no way "
            "to give rows to more ids and leave the old ones as they are; make a new table and train it."
        )
