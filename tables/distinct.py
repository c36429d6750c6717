"""The ids of a batch, each once: for tables whose vectors cost more than finding out which ids repeat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

_MOST_PER_VALUE = 16
"""Places of a table by value for each value that is looked up in it: more, and sorting the values costs less."""


@dataclass(frozen=True)
class Distinct:
    """Distinct ids of G features, feature after feature, ascending.

    Args:
        ids: [M]
        features: [M] in [0, G) that each belongs to; None where there is one feature.
        counts: ids of each feature, M in all.
        places: [N] of each id that was given, its number among the M.
        order: [N] the ids that were given, sorted by their number.
        starts: [M] where each number begins in that order.
    """

    ids: Tensor
    features: Tensor | None
    counts: list[int]
    places: Tensor
    order: Tensor
    starts: Tensor

    def spread(self, vectors: Tensor) -> Tensor:
        """Vectors [M, D] of the distinct ids -> [N, D] of the ids that were given."""
        found: Tensor = _Spread.apply(vectors, self.places, self.order, self.starts)
        return found

    def num_repeats(self) -> Tensor:
        """[M] how often each was given."""
        return torch.diff(self.starts, append=self.starts.new_tensor([len(self.order)]))

    def tensors(self) -> list[Tensor]:
        """What it holds."""
        found = (self.ids, self.features, self.places, self.order, self.starts)
        return [tensor for tensor in found if tensor is not None]


class _Spread(torch.autograd.Function):
    """Gradients of ids that repeat are added up in their sorted order, which is known, as the bags of one kernel."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, places: Tensor, order: Tensor, starts: Tensor) -> Tensor:
        ctx.save_for_backward(order, starts)
        return vectors.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        order, starts = ctx.saved_tensors
        gradient = gradients[0].contiguous()
        added = F.embedding_bag(order, gradient, starts, mode="sum") if len(starts) else gradient
        return added, None, None, None


def distinct_ids(ids: Tensor, features: Tensor | None, num_ids: Tensor) -> Distinct:
    """Find the distinct ids. How many there are must be known, so that a GPU would be waited for.

    Args:
        ids: [N] in the range of their feature, feature after feature.
        features: [N] that each belongs to; None where there is one feature.
        num_ids: [G] ids that each feature has.
    """
    ends = num_ids.cumsum(0)
    values = ids if features is None else ids + (ends - num_ids).index_select(0, features)
    # Narrow integers are sorted in half the time.
    values, order = (values.int() if int(ends[-1]) <= 1 << 31 else values).sort(stable=True)
    is_new = torch.ones_like(values, dtype=torch.bool)
    torch.ne(values[1:], values[:-1], out=is_new[1:])
    starts = is_new.nonzero().squeeze(1)
    places = torch.empty_like(order).index_copy_(0, order, is_new.cumsum(0) - 1)
    first = order.index_select(0, starts)
    owners = None if features is None else features.index_select(0, first)
    counts = [len(first)] if owners is None else torch.bincount(owners, minlength=len(num_ids)).tolist()
    return Distinct(ids.index_select(0, first), owners, counts, places, order, starts)


def first_of_each(values: Tensor, num_values: int) -> tuple[Tensor, Tensor]:
    """Where each value that is there comes first, [M] ascending, and the number [N] of every value among those M.

    Args:
        values: [N] in [0, num_values).
        num_values: how many there might be.
    """
    positions, values = torch.arange(len(values), device=values.device), values.long()
    if num_values <= _MOST_PER_VALUE * len(values):
        first = values.new_full((num_values,), len(values)).scatter_reduce_(0, values, positions, "amin")
        first = first.index_select(0, values)
    else:
        found, numbers = torch.unique(values, return_inverse=True)
        first = torch.full_like(found, len(values)).scatter_reduce_(0, numbers, positions, "amin")
        first = first.index_select(0, numbers)
    is_first = first == positions
    numbers = is_first.cumsum(0) - 1
    return is_first.nonzero().squeeze(1), numbers.index_select(0, first)


def counted(values: Tensor, num_values: int) -> tuple[Tensor, Tensor]:
    """The values that are there, [M] ascending, and how often each is.

    Args:
        values: [N] in [0, num_values).
        num_values: how many there might be.
    """
    if num_values > _MOST_PER_VALUE * len(values):
        found, occurrences = torch.unique(values, return_counts=True)
        return found, occurrences
    occurrences = torch.bincount(values, minlength=num_values)
    found = occurrences.nonzero().squeeze(1)
    return found, occurrences.index_select(0, found)
