"""The vectors of several tables side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from recsys.tables.base import DEFAULT_INIT_STD, Constants
from recsys.tables.combined import CombinedTable, PartFactory
from recsys.tables.combined_fit import check_apart


class ConcatTable(CombinedTable):
    """The parts' vectors side by side.

    Shape:
        ids [N] -> embeddings [N, D]; memory that of the parts.

    Args:
        name: feature or table name.
        num_embeddings: V, ids are in [0, V).
        embedding_dim: D.
        tables: makes each part.
        dims: width of each part, D in all; by default equal ones.
        init_std: standard deviation of the initial vectors.

    Raises:
        ValueError: with fewer than two parts, one whose state changes outside its rows, or widths that are not D.
    """

    def __init__(
        self,
        name: str,
        num_embeddings: int,
        embedding_dim: int,
        *,
        tables: Sequence[PartFactory],
        dims: Sequence[int] | None = None,
        init_std: float = DEFAULT_INIT_STD,
    ) -> None:
        if len(tables) < 2:
            raise ValueError(f"ConcatTable '{name}': tables must be two or more, got {len(tables)}.")
        number = len(tables)
        widths = [embedding_dim // number] * len(tables) if dims is None else list(dims)
        if len(widths) != len(tables) or sum(widths) != embedding_dim:
            raise ValueError(
                f"ConcatTable '{name}': dims must be {len(tables)} widths that add up to embedding_dim="
                f"{embedding_dim}, got {widths}."
            )
        super().__init__(name, num_embeddings, embedding_dim, tables, widths, [init_std] * len(tables))

    def fit(self, vectors: Tensor, ids: Tensor, rows: Mapping[str, Tensor]) -> None:
        """Each part by its own columns."""
        if self.linear and not list(self.parameters()):
            super().fit(vectors, ids, rows)
            return
        check_apart(self._parts)
        columns = vectors.split([part.embedding_dim for part in self._parts], dim=1)

        def fit() -> None:
            for part, own in zip(self._parts, columns, strict=True):
                matrices = {physical.name: rows[physical.name] for physical in part.physical_tables()}
                part.fit(own.contiguous(), ids, matrices)

        self.fit_parts(fit)

    def combine(self, rows: Tensor, parameters: Mapping[str, Tensor], ids: Tensor, constants: Constants) -> Tensor:
        """They as they are."""
        return torch.cat(self.part_vectors(rows, parameters, ids, constants), dim=-1)
