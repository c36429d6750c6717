"""What an Embedding of a table that keeps all vectors does otherwise than one that computes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.tables.base import Table
from recsys.tables.input_checks import check_whole
from recsys.tables.matrices import Matrix, fill, grown_rows
from recsys.tables.physical import PhysicalTable
from recsys.tables.transforms import allow_any_shape, allow_sparse_gradients


class FullRows(nn.Module):
    """What an Embedding of a table that keeps all vectors does otherwise: its weight is its only parameter.

    The row of padding_idx starts as zeros and is kept as it is.
    """

    table: Table
    weight: nn.Parameter
    padding_idx: int | None
    sparse: bool

    def _make_rows(self, device: torch.device, dtype: torch.dtype) -> None:
        matrix = Matrix(self.table.physical_tables()[0], dtype, device)
        self.register_parameter("weight", matrix.rows)
        self._zero_padding()

    @torch.no_grad()
    def _zero_padding(self) -> None:
        if self.padding_idx is not None:
            self.weight[self.padding_idx].fill_(0)

    @property
    def num_embeddings(self) -> int:
        """V, number of ids; who sets it has put in another weight, as transformers' resize_token_embeddings does."""
        return self.table.num_embeddings

    @num_embeddings.setter
    def num_embeddings(self, value: int) -> None:
        arguments: dict[str, Any] = {**self.table.arguments, **self.table.grown_arguments(value)}
        self.table = type(self.table)(**arguments)

    def reset_parameters(self) -> None:
        """Start afresh, as when built with torch's present seed."""
        fill(self.weight, self.table.physical_tables()[0])
        self._zero_padding()

    @property
    def dtype(self) -> torch.dtype:
        """Of the vectors."""
        return self.weight.dtype

    @property
    def weights(self) -> list[nn.Parameter]:
        """The weight."""
        return [self.weight]

    def _grow_rows(self, physical: Mapping[str, PhysicalTable]) -> None:
        self._parameters["weight"] = grown_rows(self.weight, next(iter(physical.values())))

    def read(self, ids: Tensor) -> Tensor:
        """See Embedding."""
        check_whole(self.weights, self.table, ids)
        self._check_weight()
        ids = ids if ids.dtype == torch.int32 else ids.long()
        sparse = self.sparse and self.weight.requires_grad and allow_sparse_gradients()
        if self.padding_idx is None or not sparse or allow_any_shape():
            return F.embedding(ids, self.weight, self.padding_idx, sparse=sparse)
        # Torch's own sparse gradient has as many rows as there are ids that are no padding.
        vectors = F.embedding(ids, self.weight, sparse=True)
        return torch.where((ids == self.padding_idx).unsqueeze(-1), vectors.detach(), vectors)

    def _check_weight(self) -> None:
        """Refuse a weight that somebody has put in and that ids are beyond."""
        table, shape = self.table, self.weight.shape
        wanted = (table.num_embeddings, table.embedding_dim)
        if shape != wanted:
            raise ValueError(
                f"{type(table).__name__} '{table.name}': weight must be {list(wanted)}, got {list(shape)}; set "
                "num_embeddings as well, or grow the Embedding."
            )

    def _rows_of(self, matrix: str) -> nn.Parameter:
        return self.weight
