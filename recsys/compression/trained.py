"""A table as it was trained, whatever its method: vectors, how often they are read, what they matter to the loss."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recsys.tables import CompactTable, FullTable, Table
from recsys.tables.routing.ranks import pack_bits

Compressed = tuple[Table, dict[str, Tensor]]
"""A table that is filled but for its matrices, and the rows of these by name."""

_PIECE_VALUES = 1 << 19
"""So few that what is computed of them stays in a processor's cache."""
_UNSEEN = 0.5
"""Occurrences that an id is taken to have beyond those seen in training: one never seen there may come."""


@dataclass(frozen=True)
class TrainedTable:
    """What a method of compression is given of a table.

    Shape:
        vectors [V, D] float32, counts [V], sensitivity [D], column_values [D]

    Args:
        name: of the table.
        vectors: of all ids; may be the memory that training used, and is not written to.
        counts: how often each id occurs in training.
        sensitivity: mean square of the loss's gradient by each column.
        column_values: Shapley value of each column, the loss that it saves; None where no method asks for them.
    """

    name: str
    vectors: Tensor
    counts: Tensor
    sensitivity: Tensor
    column_values: Tensor | None = None
    _kept: dict[str, Tensor] = field(default_factory=dict, repr=False)

    @property
    def num_embeddings(self) -> int:
        """V."""
        return self.vectors.shape[0]

    @property
    def embedding_dim(self) -> int:
        """D."""
        return self.vectors.shape[1]

    @property
    def full_bytes(self) -> int:
        """Bytes of the V x D matrix in float32."""
        return 4 * self.vectors.numel()

    @property
    def weights(self) -> Tensor:
        """[V] share of all that is looked up, in float32; they add up to 1."""
        if "weights" not in self._kept:
            smoothed = self.counts.double() + _UNSEEN
            self._kept["weights"] = (smoothed / smoothed.sum()).float()
        return self._kept["weights"]

    def mean(self) -> Tensor:
        """[D] the vectors' mean by frequency."""
        if "mean" not in self._kept:
            total = torch.zeros(self.embedding_dim, dtype=torch.float64)
            for piece in self.pieces():
                total += (self.weights[piece] @ self.vectors[piece]).double()
            self._kept["mean"] = total.float()
        return self._kept["mean"]

    def pieces(self) -> Iterator[slice]:
        """Ids, some at a time, so that what is computed of them takes little memory."""
        step = max(1, _PIECE_VALUES // self.embedding_dim)
        for start in range(0, self.num_embeddings, step):
            yield slice(start, min(start + step, self.num_embeddings))


def whole(trained: TrainedTable) -> Compressed:
    """All of it, exactly."""
    table = FullTable(trained.name, trained.num_embeddings, trained.embedding_dim)
    return table, {trained.name: trained.vectors}


def constant(trained: TrainedTable) -> Compressed:
    """No row: every id has the mean."""
    return compact(trained, torch.zeros(trained.num_embeddings, dtype=torch.bool), None, trained.mean())


@torch.no_grad()
def compact(trained: TrainedTable, kept: Tensor, columns: list[int] | None, common: Tensor) -> Compressed:
    """Rows of the ids that are kept, in some columns; everything else is the common vector.

    Args:
        trained: the table.
        kept: [V] flags.
        columns: that are kept; None for all.
        common: [D].
    """
    num_kept, sizes = int(kept.sum()), (trained.name, trained.num_embeddings, trained.embedding_dim)
    if num_kept == trained.num_embeddings and columns is None:
        return whole(trained)
    if bool(kept[:num_kept].all()):
        table = CompactTable(*sizes, num_rows=num_kept, columns=columns)
    else:
        table = CompactTable(*sizes, kept=pack_bits(kept), columns=columns)
    table.common.copy_(common)
    if not table.physical_tables():
        return table, {}
    rows = trained.vectors[kept] - common
    return table, {trained.name: rows if columns is None else rows[:, columns].contiguous()}
