"""Ids of several features, feature after feature, laid side by side where features have about as many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Columns:
    """Some features, with as many places for each as the one with most ids has.

    Args:
        features: their numbers.
        positions: [N, G'] of ids; where a feature has fewer than N, its last one again.
    """

    features: list[int]
    positions: Tensor


def alike(counts: Sequence[int]) -> list[list[int]]:
    """Features with 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, 12 to 15 and so on ids together.

    Features without ids are left out, unless none has any.

    Args:
        counts: ids of each feature.
    """
    # The first two bits of a count, and how many follow.
    sizes = [(count.bit_length(), count >> max(0, count.bit_length() - 2)) for count in counts]
    kinds = sorted({*sizes} - {(0, 0)}) or [(0, 0)]
    return [[feature for feature, own in enumerate(sizes) if own == kind] for kind in kinds]


def columns_of(counts: Sequence[int]) -> tuple[list[Columns], Tensor]:
    """Features that are `alike` in one part each.

    So there are few parts however many features there are, and half as many places again as ids at most.

    Args:
        counts: ids of each feature, M in all.

    Returns: the parts, and [M] the place of each id among all places of all parts, row by row.
    """
    members = alike(counts)
    numbers = torch.tensor(counts)
    starts = numbers.cumsum(0) - numbers
    ordered = torch.tensor([feature for features in members for feature in features])
    begins, lasts = (
        each.index_select(0, ordered).split([len(own) for own in members]) for each in (starts, numbers - 1)
    )
    columns, widths = [0] * len(counts), [0] * len(counts)
    parts, first = [], 0
    for features, begin, last in zip(members, begins, lasts, strict=True):
        ranks = torch.arange(max(counts[feature] for feature in features)).unsqueeze(1)
        parts.append(Columns(features, begin + torch.minimum(ranks, last)))
        for column, feature in enumerate(features):
            columns[feature], widths[feature] = first + column, len(features)
        first += len(ranks) * len(features)
    num_ids = sum(counts)
    owners = torch.arange(len(counts)).repeat_interleave(numbers, output_size=num_ids)
    ranks = torch.arange(num_ids) - starts.index_select(0, owners)
    places = torch.tensor(columns).index_select(0, owners) + ranks * torch.tensor(widths).index_select(0, owners)
    return parts, places


def laid_out(values: Tensor, positions: Tensor, places: Tensor) -> Tensor:
    """Values [M, ...] of the ids at all places; repeated ones, which nobody may read, give no gradient.

    Args:
        values: of the ids.
        positions: of all parts, flattened.
        places: see `columns_of`.
    """
    found: Tensor = _LaidOut.apply(values, positions, places)
    return found


class _LaidOut(torch.autograd.Function):
    """Read for its gradient too, where that of index_select would be added up."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, positions: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        return values.index_select(0, positions)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        return gradients[0].index_select(0, places), None, None
