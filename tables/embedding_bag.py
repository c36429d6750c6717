"""One table as a drop-in for nn.EmbeddingBag: vectors are combined per id, then pooled."""

from __future__ import annotations

from typing import Literal, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.tables.bag_checks import check_pooled
from recsys.tables.base import Table
from recsys.tables.embedding import Embedding
from recsys.tables.fitting import Fitted, check_vectors
from recsys.tables.full_rows import FullRows
from recsys.tables.input_checks import check_table
from recsys.tables.traced import call_of, is_traced
from recsys.tables.transforms import allow_sparse_gradients

_MODES = ("sum", "mean", "max")


class EmbeddingBag(Embedding):
    """A table in place of nn.EmbeddingBag. See Embedding for what they have in common.

    A bag of three ids of a table that multiplies rows is the sum of three products, not the product of three sums.

    Shape:
        ids [B, L], or ids [N] with offsets [B] -> [B, D]; weights like ids; a bag without ids gives zeros

    Args:
        table: the method.
        max_norm: refused unless None.
        scale_grad_by_freq: refused if true.
        mode: "sum", "mean" or "max".
        sparse: make sparse gradients.
        include_last_offset: offsets has a last entry more, the number of ids.
        padding_idx: an id that no bag counts; negative ones count from the end.
        device: of the parameters; by default torch's.
        dtype: of the parameters; by default torch's.

    Raises:
        ValueError: on another mode, on what is refused, or if padding_idx is out of range.
    """

    @typed
    def __init__(
        self,
        table: Table,
        *,
        max_norm: None = None,
        scale_grad_by_freq: bool = False,
        mode: Literal["sum", "mean", "max"] = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
        device: torch.device | str | int | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            table,
            padding_idx=padding_idx,
            max_norm=max_norm,
            scale_grad_by_freq=scale_grad_by_freq,
            sparse=sparse,
            device=device,
            dtype=dtype,
        )
        self.mode = mode
        self.include_last_offset = include_last_offset

    @classmethod
    def from_pretrained(
        cls,
        weight: Tensor,
        table: Table,
        *,
        mode: Literal["sum", "mean", "max"] = "mean",
        sparse: bool = False,
        include_last_offset: bool = False,
        padding_idx: int | None = None,
    ) -> Fitted[Self]:
        """An EmbeddingBag that starts from given vectors [V, D]; see Embedding.from_pretrained."""
        check_table(cls.__name__, table)
        check_vectors(table, weight)
        made = cls(
            table,
            mode=mode,
            sparse=sparse,
            include_last_offset=include_last_offset,
            padding_idx=padding_idx,
            device=weight.device,
            dtype=weight.dtype,
        )
        return Fitted(made, made.fit_(weight))

    @classmethod
    def _full_kind(cls) -> type[Self]:
        return FullEmbeddingBag if cls is EmbeddingBag else cls  # type: ignore[return-value]

    def forward(self, ids: Tensor, offsets: Tensor | None = None, per_sample_weights: Tensor | None = None) -> Tensor:
        """Pooled vectors of bags; see the class for shapes.

        Raises:
            ValueError: if ids are no integers or out of range, shapes do not fit, or weights are not finite.
            NotImplementedError: on per_sample_weights with another mode than "sum".
        """
        if is_traced(ids, offsets, per_sample_weights):
            return call_of(self, ids, offsets, per_sample_weights)
        self._check_ids(ids)
        if self.mode not in _MODES:
            raise ValueError(f"EmbeddingBag: mode must be one of {', '.join(_MODES)}, got {self.mode!r}.")
        owner = f"EmbeddingBag '{self.table.name}'"
        check_pooled(owner, ids, offsets, per_sample_weights, self.mode, self.include_last_offset, self.dtype)
        self._observe(ids)
        if not ids.numel():
            return self._nothing(ids, offsets)
        return self._pooled(ids, offsets, per_sample_weights)

    def _nothing(self, ids: Tensor, offsets: Tensor | None) -> Tensor:
        """Zeros [B, D] of bags without an id, for which torch's kernel finds no step from one to the next."""
        num_bags = ids.shape[0] if offsets is None else offsets.shape[0] - self.include_last_offset
        return self.read(ids.reshape(-1)).new_zeros(num_bags, self.embedding_dim)

    def _pooled(self, ids: Tensor, offsets: Tensor | None, weights: Tensor | None) -> Tensor:
        """The vectors of all ids, pooled by torch's own kernel as if they were a matrix of N rows."""
        vectors = self.read(ids.reshape(-1))
        places = torch.arange(vectors.shape[0], device=ids.device)
        padding = None
        if self.padding_idx is not None:
            padding = vectors.shape[0]
            vectors = torch.cat([vectors, vectors.new_zeros(1, self.embedding_dim)])
            places = torch.where(ids.reshape(-1) == self.padding_idx, padding, places)
        return F.embedding_bag(
            places.view(ids.shape),
            vectors,
            offsets if offsets is None else offsets.long(),
            mode=self.mode,
            per_sample_weights=None if weights is None else weights.to(vectors.dtype),
            include_last_offset=self.include_last_offset,
            padding_idx=padding,
        )

    def extra_repr(self) -> str:
        """What was asked for beside the table."""
        return ", ".join(part for part in (super().extra_repr(), f"mode={self.mode}") if part)


class FullEmbeddingBag(FullRows, EmbeddingBag, nn.EmbeddingBag):  # type: ignore[misc, override]
    """What `EmbeddingBag` makes of a table that keeps all vectors: an nn.EmbeddingBag."""

    def _pooled(self, ids: Tensor, offsets: Tensor | None, weights: Tensor | None) -> Tensor:
        ids = ids if ids.dtype == torch.int32 else ids.long()
        return F.embedding_bag(
            ids,
            self.weight,
            offsets if offsets is None else offsets.to(ids.dtype),
            mode=self.mode,
            sparse=self.sparse and self.weight.requires_grad and allow_sparse_gradients(),
            per_sample_weights=None if weights is None else weights.to(self.weight.dtype),
            include_last_offset=self.include_last_offset,
            padding_idx=self.padding_idx,
        )
