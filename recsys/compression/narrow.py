"""Narrower rows and a projection, by the singular values."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.compression.allocation import Choice, allocate
from recsys.compression.method import Method, bytes_of
from recsys.compression.trained import Compressed, TrainedTable, constant, whole
from recsys.tables import MixedDimTable
from recsys.tables.mixed_dim import mixed_dim_bytes

_LEAST = 1e-6
"""Least sensitivity of a column, as a fraction of the largest: nothing is divided by 0."""


class SVD(Method):
    """Rows of the widths at which all tables together lose least, and the projection that brings them back to D.

    Source: Eckart and Young (1936), in the norm that weighs ids by frequency and columns by sensitivity. A table that
    gets no width at all becomes its mean.
    """

    name = "svd"

    def compress(self, tables: Sequence[TrainedTable], budget_bytes: int) -> dict[str, Compressed]:
        """See Method."""
        bases = {table.name: Basis(table) for table in tables}
        choices = {table.name: bases[table.name].choices() for table in tables}
        chosen = allocate(choices, budget_bytes)
        if chosen is None:
            raise self.refuse(budget_bytes, sum(own[0].num_bytes for own in choices.values()))
        found = {table.name: bases[table.name].narrowed(chosen[table.name]) for table in tables}
        assert bytes_of(found) <= budget_bytes
        return found


class Basis:
    """The directions in which a table's vectors differ most, as the loss feels it.

    Args:
        table: the table.
    """

    def __init__(self, table: TrainedTable) -> None:
        self._table = table
        sensitivity = table.sensitivity.double()
        self._scale = sensitivity.clamp(min=max(float(sensitivity.max()) * _LEAST, 1e-30)).sqrt()
        scale = self._scale.float()
        moment = torch.zeros(table.embedding_dim, table.embedding_dim, dtype=torch.float64)
        for piece in table.pieces():
            scaled = table.vectors[piece] * scale
            moment += (scaled.T @ (scaled * table.weights[piece].unsqueeze(1))).double()
        values, directions = torch.linalg.eigh(moment)
        self._values = values.flip(0).clamp(min=0)
        self._directions = directions.flip(1)

    def choices(self) -> list[Choice]:
        """Of each width from 0 to D."""
        table = self._table
        sizes, dim = [table.num_embeddings], table.embedding_dim
        mean = table.mean().double() * self._scale
        spread = float(self._values.sum() - mean.square().sum())
        narrow = [
            Choice(mixed_dim_bytes(sizes, [width], dim), float(self._values[width:].sum())) for width in range(1, dim)
        ]
        return [Choice(4 * dim, spread), *narrow, Choice(table.full_bytes, 0.0)]

    @torch.no_grad()
    def narrowed(self, width: int) -> Compressed:
        """The table with rows of a width."""
        table = self._table
        if width == 0:
            return constant(table)
        if width == table.embedding_dim:
            return whole(table)
        directions = self._directions[:, :width]
        into = (self._scale.unsqueeze(1) * directions).float()
        rows = torch.empty(table.num_embeddings, width)
        for piece in table.pieces():
            rows[piece] = table.vectors[piece] @ into
        found = MixedDimTable(table.name, table.num_embeddings, table.embedding_dim, row_dim=width)
        found.projection.copy_(_back(directions, self._scale))
        return found, {table.name: rows}


def _back(directions: Tensor, scale: Tensor) -> Tensor:
    """[width, D] from rows to vectors."""
    return (directions / scale.unsqueeze(1)).T.float()
