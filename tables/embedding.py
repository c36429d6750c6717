"""One table as a drop-in for nn.Embedding: the slow path, and the oracle of the fused one."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import Table, unique_physical_tables
from recsys.tables.dynamic import DynamicTable


class Embedding(nn.Module):
    """A table in place of nn.Embedding: ordinary parameters, any torch optimizer.

    In training mode every forward pass is one batch to a DynamicTable: rows that it gives to other ids start afresh,
    but the optimizer's state of them is out of reach here, so choose one without state.

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
        self.weights = nn.ParameterList([nn.Parameter(matrix.initial_rows()) for matrix in matrices.values()])
        names = list(matrices)
        self._reads = [names.index(physical.name) for physical in table.physical_tables()]

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
            ValueError: if an id on the CPU is outside [0, num_embeddings).
        """
        flat = ids.reshape(-1)
        self._check(flat)
        if isinstance(self.table, DynamicTable) and self.table.training:
            self._observe(self.table, flat)
        constants = {name: values.unsqueeze(-1) for name, values in self.table.constants().items()}
        rows = self.table.route(flat.unsqueeze(0), constants)
        found = [F.embedding(rows[k], self.weights[read], sparse=self.sparse) for k, read in enumerate(self._reads)]
        parameters = {name: parameter.unsqueeze(0) for name, parameter in self.table.named_parameters()}
        vectors = self.table.combine(torch.cat(found, dim=1).unsqueeze(1), parameters).squeeze(1)
        if self.padding_idx is not None:
            vectors = vectors * (flat != self.padding_idx).unsqueeze(1).to(vectors.dtype)
        return vectors.reshape(*ids.shape, self.embedding_dim)

    @torch.no_grad()
    def _observe(self, table: DynamicTable, ids: Tensor) -> None:
        fresh = table.observe(ids)
        if fresh is not None:
            self.weights[0][fresh.rows] = fresh.values

    def _check(self, ids: Tensor) -> None:
        """Out-of-range ids hash without complaint, so they are refused here; on a GPU the check would stall."""
        if ids.device.type == "cpu" and ids.numel() and (ids.min() < 0 or ids.max() >= self.num_embeddings):
            worst = int(ids.max()) if ids.max() >= self.num_embeddings else int(ids.min())
            raise ValueError(
                f"{type(self.table).__name__} '{self.table.name}': ids must be in "
                f"[0, num_embeddings={self.num_embeddings}), got {worst}."
            )
