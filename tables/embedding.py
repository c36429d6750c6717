"""One table as a drop-in for nn.Embedding: the slow path, and the oracle of the fused one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import Table, unique_physical_tables
from recsys.tables.checks import check_ids
from recsys.tables.lookups.optimizers import Frozen
from recsys.tables.physical import PhysicalTable


class Embedding(nn.Module):
    """A table in place of nn.Embedding: ordinary parameters, any torch optimizer.

    In training mode every forward pass is one batch to a table that takes note of ids: rows that it gives to other ids
    start afresh, but the optimizer's state of them is out of reach here, so choose one without state.

    Shape:
        ids [...] -> [..., D]

    Args:
        table: the method; it says how many rows there are and how they are combined.
        padding_idx: an id whose vector is zeros and that gets no gradient, as in nn.Embedding.
        sparse: make sparse gradients, for torch.optim.SparseAdam or SGD.

    Raises:
        ValueError: if padding_idx is outside [0, num_embeddings).

    >>> from recsys.tables import QRTable
    >>> Embedding(QRTable("item", 1_000_000, 16))(torch.tensor([[1, 999_999]])).shape
    torch.Size([1, 2, 16])
    """

    def __init__(self, table: Table, *, padding_idx: int | None = None, sparse: bool = False) -> None:
        super().__init__()
        if padding_idx is not None:
            table.require("padding_idx", padding_idx, 0, table.num_embeddings - 1)
        self.table = table
        self.padding_idx = padding_idx
        self.sparse = sparse
        matrices = unique_physical_tables([table])
        self.weights = nn.ParameterList([_parameter(matrix) for matrix in matrices.values()])
        self._names = list(matrices)
        self._reads = [self._names.index(physical.name) for physical in table.physical_tables()]

    @property
    def num_embeddings(self) -> int:
        """V, number of ids."""
        return self.table.num_embeddings

    @property
    def embedding_dim(self) -> int:
        """D, width of a vector."""
        return self.table.embedding_dim

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids of any shape.

        Raises:
            ValueError: if ids are no integers, or on the CPU outside [0, num_embeddings).
        """
        flat = ids.reshape(-1)
        check_ids(flat, self.num_embeddings, [self.table.name])
        if self.table.observes and self.table.training:
            with torch.no_grad():
                self.table.observe(flat.long(), self)
        vectors = self._vectors(flat)
        if self.padding_idx is not None:
            vectors = vectors * (flat != self.padding_idx).unsqueeze(1).to(vectors.dtype)
        return vectors.reshape(*ids.shape, self.embedding_dim)

    def _vectors(self, ids: Tensor) -> Tensor:
        """Ids [N] -> [N, D]."""
        rows = torch.zeros(len(ids), 0, device=ids.device)
        if self._reads:
            numbers = self.table.rows_of(ids)
            found = [self._read(read, numbers[k]) for k, read in enumerate(self._reads)]
            rows = found[0] if len(found) == 1 else torch.cat(found, dim=1)
        return self.table.vectors_of(rows, ids)

    def _read(self, matrix: int, rows: Tensor) -> Tensor:
        """Rows [N] of a matrix [N, W]; for -1 zeros, which touch nothing in the backward pass."""
        weight = self.weights[matrix]
        if not weight.dtype.is_floating_point:
            return weight[rows.clamp(min=0)].to(torch.get_default_dtype()).masked_fill(rows.unsqueeze(1) < 0, 0)
        sparse = self.sparse and weight.requires_grad
        if not self.table.leaves_out:
            return F.embedding(rows, weight, sparse=sparse)
        present = (rows >= 0).nonzero().squeeze(1)
        found = F.embedding(rows[present], weight, sparse=sparse)
        return found.new_zeros(len(rows), weight.shape[1]).index_copy(0, present, found)

    def read_rows(self, table: str, rows: Tensor) -> Tensor:
        """See recsys.tables.upkeep.Rows."""
        return self.weights[self._names.index(table)].detach()[rows]

    @torch.no_grad()
    def write_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows."""
        weight = self.weights[self._names.index(table)]
        weight[rows] = values.to(weight)

    def copy_rows(self, table: str, sources: Tensor, targets: Tensor) -> None:
        """See recsys.tables.upkeep.Rows; the optimizer's state is out of reach here."""
        self.write_rows(table, targets, self.read_rows(table, sources))

    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See recsys.tables.upkeep.Rows; the optimizer's state is out of reach here."""
        self.write_rows(table, rows, values)

    def agree_on(self, tensors: Sequence[Tensor]) -> None:
        """See recsys.tables.upkeep.Rows; here there is one process."""


def _parameter(matrix: PhysicalTable) -> nn.Parameter:
    rows = matrix.initial_rows()
    return nn.Parameter(rows, requires_grad=not isinstance(matrix.optimizer, Frozen))
