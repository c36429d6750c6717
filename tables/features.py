"""What goes into a collection: a named input column, and the ids of a multi-valued one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from recsys.argument_types import check_fields
from recsys.tables.placement import check_readable, checked_device

Pooling = Literal["sum", "mean", "sequence"]


@dataclass(frozen=True)
class Feature:
    """An input column and the table that embeds it.

    Args:
        name: the column's name.
        table: name of a table; several features may name one table.
        pooling: how the vectors of a multi-valued column become one, "sum" or "mean"; "sequence" leaves them as they
            are, for models that read a history; None for a column with one id per sample.
        max_length: of a sequence, places that its samples are padded to and cut off at; None takes the longest sample
            of each batch, for which a GPU has to be waited for.

    Raises:
        ValueError: on another pooling, or a max_length below 1 or without "sequence".
    """

    name: str
    table: str
    pooling: Pooling | None = None
    max_length: int | None = None

    def __post_init__(self) -> None:
        """Refuse what is no name, and a pooling that does not exist."""
        check_fields(self)
        if self.name == "" or self.table == "":
            raise ValueError(f"Feature: name and table must not be empty, got {self.name!r} and {self.table!r}.")
        if self.max_length is not None and (self.pooling != "sequence" or self.max_length < 1):
            raise ValueError(
                f"Feature '{self.name}': max_length must be at least 1 and goes with pooling 'sequence', "
                f"got {self.max_length!r} with {self.pooling!r}."
            )


@dataclass(eq=False)  # not frozen: Lightning rebuilds batches field by field when it changes their precision
class Bag:
    """Ids of a multi-valued column, sample after sample.

    Shape:
        values [N], lengths [B] with lengths.sum() == N, a sample may have no id; weights [N] or None: what each id's
        vector is multiplied by before it is pooled by sum
    """

    values: Tensor
    lengths: Tensor
    weights: Tensor | None = None

    def __post_init__(self) -> None:
        """Refuse what has no elements, as a list, and what holds them otherwise than one after another."""
        for name, value in (("values", self.values), ("lengths", self.lengths), ("weights", self.weights)):
            if not hasattr(value, "numel") and not (name == "weights" and value is None):
                raise ValueError(
                    f"Bag: {name} must be a Tensor, got {type(value).__name__}; torch.as_tensor makes one."
                )
            if isinstance(value, Tensor) and not torch.compiler.is_compiling():
                check_readable("Bag", name, value)

    def tensors(self) -> list[Tensor]:
        """Those that there are."""
        return [tensor for tensor in (self.values, self.lengths, self.weights) if tensor is not None]

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Bag:
        """The same bag on another device.

        Raises:
            ValueError: if there is no such device.
        """
        device = checked_device("Bag", device)
        return Bag(*(tensor.to(device, non_blocking=non_blocking) for tensor in self.tensors()))

    def pin_memory(self) -> Bag:
        """The same bag in page-locked memory."""
        return Bag(*(tensor.pin_memory() for tensor in self.tensors()))

    def __len__(self) -> int:
        return self.lengths.numel()


def concatenate_bags(bags: Sequence[Bag]) -> Bag:
    """One bag of the samples of all, in order.

    Raises:
        ValueError: if some have weights and some have none.
    """
    weights = [bag.weights for bag in bags if bag.weights is not None]
    if weights and len(weights) < len(bags):
        raise ValueError("bags of one feature must all have weights, or none of them.")
    joined = torch.cat(weights) if weights else None
    return Bag(torch.cat([bag.values for bag in bags]), torch.cat([bag.lengths for bag in bags]), joined)


class Embedded(NamedTuple):
    """What a collection with sequences gives.

    Shape:
        vectors [B, F, D] of the other features, in their order; sequences, by name, vectors [B, L, D] and whether each
        place has an id, [B, L]; places without one are zeros
    """

    vectors: Tensor
    sequences: dict[str, tuple[Tensor, Tensor]]


def pool(vectors: Tensor, samples: Tensor, num_samples: int) -> Tensor:
    """Sum of each sample's vectors; a sample without ids gives zeros.

    Shape:
        vectors [N, D], samples [N] in [0, num_samples) -> [num_samples, D]
    """
    return vectors.new_zeros(num_samples, vectors.shape[1]).index_add(0, samples, vectors)


def pad_sequences(vectors: Tensor, samples: Tensor, lengths: Tensor, max_length: int | None) -> tuple[Tensor, Tensor]:
    """Each sample's vectors in places 0, 1, ...; those beyond max_length are left out.

    Shape:
        vectors [N, D], samples [N] ascending, lengths [B] -> [B, L, D], bool [B, L]
    """
    num_places = int(lengths.max()) if max_length is None and lengths.numel() else max_length or 0
    first = lengths.cumsum(0) - lengths
    places = torch.arange(len(samples), device=samples.device) - first[samples]
    # Those beyond the last place share one that is cut off again.
    kept = torch.where(places < num_places, samples * num_places + places, len(lengths) * num_places)
    padded = vectors.new_zeros(len(lengths) * num_places + 1, vectors.shape[1]).index_add(0, kept, vectors)
    mask = torch.arange(num_places, device=lengths.device) < lengths.unsqueeze(1)
    return padded[:-1].view(len(lengths), num_places, vectors.shape[1]), mask


def all_weighted_or_none(bags: Sequence[Bag]) -> Sequence[Bag]:
    """Bags without weights beside others with weights get ones."""
    if all(bag.weights is None for bag in bags):
        return bags
    return [
        bag if bag.weights is not None else replace(bag, weights=torch.ones(len(bag.values), device=bag.values.device))
        for bag in bags
    ]
