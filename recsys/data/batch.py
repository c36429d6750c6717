"""What a data module yields and a task consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa
import torch
from torch import Tensor

from recsys.data.transfer import moved
from recsys.tables import Bag
from recsys.tables.routed import StartedBatch


@dataclass(eq=False)
class Batch:
    """B samples, feature-major.

    Shape:
        ids [F, B] int32 or int64, single-valued features in schema order, contiguous; bags one per multi-valued
        feature, each of B samples; dense [B, num_dense] float32; labels [B] float32, weights [B] float32 and groups [B]
        int64, each or None; beside B rows of the data's key columns, or None.

    A batch whose lookups were begun ahead of its step carries them as `started`.
    """

    ids: Tensor
    bags: dict[str, Bag]
    dense: Tensor
    labels: Tensor | None
    started: StartedBatch | None = None
    weights: Tensor | None = None
    groups: Tensor | None = None
    beside: pa.Table | None = None

    def __len__(self) -> int:
        return self.dense.shape[0]

    def tensors(self) -> list[Tensor]:
        """All that there are, bags in their order."""
        bags = [tensor for bag in self.bags.values() for tensor in bag.tensors()]
        beside = [values for values in (self.labels, self.weights, self.groups) if values is not None]
        return [self.ids, self.dense, *beside, *bags]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Batch:
        """The same batch on another device; out of page-locked memory without a wait."""
        return self._made_of(moved(self.tensors(), device, non_blocking))

    def pin_memory(self) -> Batch:
        """The same batch in page-locked memory."""
        return self._made_of([tensor.pin_memory() for tensor in self.tensors()])

    def _made_of(self, tensors: Sequence[Tensor]) -> Batch:
        """A batch with other tensors in the places of `tensors()`."""
        found = iter(tensors)
        ids, dense = next(found), next(found)
        labels, weights, groups = (
            None if each is None else next(found) for each in (self.labels, self.weights, self.groups)
        )
        bags = {name: Bag(*(next(found) for _ in bag.tensors())) for name, bag in self.bags.items()}
        return Batch(ids=ids, bags=bags, dense=dense, labels=labels, weights=weights, groups=groups, beside=self.beside)

    def record_stream(self, stream: torch.cuda.Stream) -> None:
        """Keep the memory until this stream has used it."""
        for tensor in self.tensors():
            tensor.record_stream(stream)
        if self.started is not None:
            self.started.record_stream(stream)


def concatenate(batches: Sequence[Batch]) -> Batch:
    """One batch of the samples of all batches, in order; all must have the same features, and labels or none."""
    if len(batches) == 1:
        return batches[0]
    keys = [batch.beside for batch in batches if batch.beside is not None]
    return Batch(
        ids=torch.cat([batch.ids for batch in batches], dim=1),
        bags={name: _concatenate_bags([batch.bags[name] for batch in batches]) for name in batches[0].bags},
        dense=torch.cat([batch.dense for batch in batches]),
        labels=_concatenate([batch.labels for batch in batches]),
        weights=_concatenate([batch.weights for batch in batches]),
        groups=_concatenate([batch.groups for batch in batches]),
        beside=pa.concat_tables(keys) if keys else None,
    )


def _concatenate(parts: Sequence[Tensor | None]) -> Tensor | None:
    known = [part for part in parts if part is not None]
    return torch.cat(known) if known else None


def _concatenate_bags(bags: Sequence[Bag]) -> Bag:
    return Bag(torch.cat([bag.values for bag in bags]), torch.cat([bag.lengths for bag in bags]))
