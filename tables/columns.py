"""Ids of several features, feature after feature, laid side by side where features have about as many of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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


def columns_of(counts: Sequence[int]) -> tuple[list[Columns], Tensor]:
    """Features with 1, 2, 3, 4 to 5, 6 to 7, 8 to 11, 12 to 15 and so on ids together.

    So there are few parts however many features there are, and half as many places again as ids at most. Features
    without ids are left out, unless none has any.

    Args:
        counts: ids of each feature, M in all.

    Returns: the parts, and [M] the place of each id among all places of all parts, row by row.
    """
    # The first two bits of a count, and how many follow.
    sizes = [(count.bit_length(), count >> max(0, count.bit_length() - 2)) for count in counts]
    numbers, starts = torch.tensor(counts), torch.tensor([0, *counts]).cumsum(0)
    parts, places, first = [], torch.empty(sum(counts), dtype=torch.int64), 0
    for size in sorted({*sizes} - {(0, 0)}) or [(0, 0)]:
        features = [feature for feature, own in enumerate(sizes) if own == size]
        own, begin = numbers[features], starts[features]
        ranks = torch.arange(int(own.max())).unsqueeze(1)
        positions = begin + torch.minimum(ranks, own - 1)
        is_first = ranks < own
        numbered = first + torch.arange(positions.numel()).view(positions.shape)
        places[positions[is_first]] = numbered[is_first]
        parts.append(Columns(features, positions))
        first += positions.numel()
    return parts, places
