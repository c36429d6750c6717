"""The ids of a batch, each once: for tables whose vectors cost more than finding out which ids repeat."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
        ids: [N] in the range of their feature.
        features: [N] that each belongs to; None where there is one feature.
        num_ids: [G] ids that each feature has.
    """
    if features is None:
        found, places = torch.unique(ids, return_inverse=True)
        return Distinct(found, None, [len(found)], places)
    ends = num_ids.cumsum(0)
    found, places = torch.unique(ids + (ends - num_ids).index_select(0, features), return_inverse=True)
    owners = torch.searchsorted(ends, found, right=True)
    counts = torch.bincount(owners, minlength=len(num_ids)).tolist()
    return Distinct(found - (ends - num_ids).index_select(0, owners), owners, counts, places)
