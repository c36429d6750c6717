"""The ids of a batch, each once: for tables whose vectors cost more than finding out which ids repeat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_MOST_PER_VALUE = 16
"""Places of a table by value for each value that is looked up in it: more, and sorting the values costs less."""


@dataclass(frozen=True)
class Distinct:
    """Distinct ids of G features, feature after feature.

    Args:
        ids: [M]
        features: [M] in [0, G) that each belongs to; None where there is one feature.
        counts: ids of each feature, M in all.
        places: [N] of each id that was given, its number among the M.
    """

    ids: Tensor
    features: Tensor | None
    counts: list[int]
    places: Tensor

    def spread(self, vectors: Tensor) -> Tensor:
        """Vectors [M, D] of the distinct ids -> [N, D] of the ids that were given."""
        return vectors.index_select(0, self.places)

    def tensors(self) -> list[Tensor]:
        """What it holds."""
        return [tensor for tensor in (self.ids, self.features, self.places) if tensor is not None]


def distinct_ids(ids: Tensor, features: Tensor | None, num_ids: Tensor) -> Distinct:
    """Find the distinct ids. How many there are must be known, so that a GPU would be waited for.

    Args:
        ids: [N] in the range of their feature, feature after feature.
        features: [N] that each belongs to; None where there is one feature.
        num_ids: [G] ids that each feature has.
    """
    if features is None:
        first, places = first_of_each(ids, int(num_ids))
        return Distinct(ids.index_select(0, first), None, [len(first)], places)
    ends = num_ids.cumsum(0)
    first, places = first_of_each(ids + (ends - num_ids).index_select(0, features), int(ends[-1]))
    owners = features.index_select(0, first)
    counts = torch.bincount(owners, minlength=len(num_ids)).tolist()
    return Distinct(ids.index_select(0, first), owners, counts, places)


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
