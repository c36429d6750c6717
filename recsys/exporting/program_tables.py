"""Trained tables in a program: rows and routing become constants of it, read by torch's own operators."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from recsys.tables import Embedding, TableCollection, served

BagInput = tuple[Tensor, Tensor]
"""Values [N] and lengths [B] of a multi-valued feature."""


class ProgramTables(nn.Module):
    """The vectors of a collection as it is served; every table is an Embedding, which torch can export.

    Shape:
        ids [F1, B] of the single-valued features, values [N] and lengths [B] of each multi-valued one -> [B, F, D]

    Args:
        collection: trained; stays as it is.
    """

    def __init__(self, collection: TableCollection) -> None:
        super().__init__()
        frozen = served(collection)
        names = list(dict.fromkeys(feature.table for feature in frozen.features))
        tables = [frozen.table(name) for name in names]
        self.embeddings = nn.ModuleList(Embedding(table, dtype=frozen.lookup.dtype) for table in tables)
        for table, embedding in zip(tables, self._embeddings(), strict=True):
            embedding.set_rows({each.name: frozen.lookup.weight(each.name) for each in table.physical_tables()})
        self._features = [(feature, names.index(feature.table)) for feature in frozen.features]
        self.requires_grad_(False).eval()

    def _embeddings(self) -> list[Embedding]:
        return [each for each in self.embeddings if isinstance(each, Embedding)]

    def forward(self, ids: Tensor | None, bags: Mapping[str, BagInput]) -> Tensor:
        """Embed a batch."""
        columns = iter(() if ids is None else ids.unbind(0))
        embeddings = self._embeddings()
        return torch.stack(
            [
                embeddings[number](next(columns))
                if feature.pooling is None
                else _pooled(feature.name, embeddings[number], *bags[feature.name], str(feature.pooling))
                for feature, number in self._features
            ],
            dim=1,
        )


def _pooled(name: str, embedding: Embedding, values: Tensor, lengths: Tensor, mode: str) -> Tensor:
    """[B, D]; an empty bag gives zeros."""
    fits = (lengths.sum() == values.shape[0]) & (lengths >= 0).all()
    torch._assert_async(fits, f"lengths of {name} must be at least 0 and add up to the number of its values")
    vectors = embedding(values)
    # A value's bag is the number of bags that end at or before it: an embedding_bag would be a loop over bags in ONNX.
    ends = values.new_zeros(values.shape[0] + 1).scatter_add(0, lengths.cumsum(0), torch.ones_like(lengths).long())
    bags = ends.cumsum(0)[: values.shape[0]]
    sums = vectors.new_zeros(lengths.shape[0], vectors.shape[1]).index_add(0, bags, vectors)
    return sums if mode == "sum" else sums / lengths.clamp(min=1).unsqueeze(1)
