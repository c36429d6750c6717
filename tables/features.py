"""What goes into a collection: a named input column, and the ids of a multi-valued one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

Pooling = Literal["sum", "mean"]


@dataclass(frozen=True)
class Feature:
    """An input column and the table that embeds it.

    Args:
        name: the column's name.
        table: name of a table; several features may name one table.
        pooling: how the vectors of a multi-valued column become one; None for a column with one id per sample.

    Raises:
        ValueError: if pooling is none of "sum", "mean", None.
    """

    name: str
    table: str
    pooling: Pooling | None = None

    def __post_init__(self) -> None:
        """Refuse a pooling that does not exist."""
        if self.pooling not in ("sum", "mean", None):
            raise ValueError(f"Feature '{self.name}': pooling must be 'sum', 'mean' or None, got {self.pooling!r}.")


@dataclass(eq=False)  # not frozen: Lightning rebuilds batches field by field when it changes their precision
class Bag:
    """Ids of a multi-valued column, sample after sample.

    Shape:
        values [N], lengths [B] with lengths.sum() == N; a sample may have no id.
    """

    values: Tensor
    lengths: Tensor

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Bag:
        """The same bag on another device."""
        return Bag(
            self.values.to(device, non_blocking=non_blocking), self.lengths.to(device, non_blocking=non_blocking)
        )

    def pin_memory(self) -> Bag:
        """The same bag in page-locked memory."""
        return Bag(self.values.pin_memory(), self.lengths.pin_memory())

    def __len__(self) -> int:
        return self.lengths.numel()


def pool(vectors: Tensor, lengths: Tensor, pooling: Pooling) -> Tensor:
    """Sum or mean of each sample's vectors; a sample without ids gives zeros.

    Shape:
        vectors [N, D], lengths [B] -> [B, D]
    """
    samples = torch.repeat_interleave(
        torch.arange(lengths.numel(), device=lengths.device), lengths, output_size=vectors.shape[0]
    )
    pooled = vectors.new_zeros(lengths.numel(), vectors.shape[1]).index_add(0, samples, vectors)
    if pooling == "mean":
        pooled = pooled / lengths.clamp(min=1).unsqueeze(1).to(pooled.dtype)
    return pooled
