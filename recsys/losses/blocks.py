"""Scores of a block of queries at a time, in memory that the next block takes over."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

BITS_PER_NAT = math.log2(math.e)


def scores_in_blocks(queries: Tensor, items: Tensor, block: int) -> Iterator[tuple[slice, Tensor]]:
    """Scores in bits, `block` queries or fewer at a time, in memory that the next block takes over.

    Shape:
        queries [P, D], items [V, D] -> rows of the block's p queries, scores [V, p]

    In bits, because exp2 takes half of exp's time on a CPU. A row for each item, because the products are then the
    faster ones, and most so with a multiple of 32 queries.
    """
    scaled = queries * BITS_PER_NAT
    num_blocks, step = max(1, -(-len(queries) // block)), min(32, block)
    even = max(1, -(-len(queries) // (num_blocks * step)) * step)
    memory = queries.new_empty(len(items) * even)
    for first in range(0, len(queries), even):
        rows = slice(first, min(first + even, len(queries)))
        place = memory[: len(items) * (rows.stop - first)].view(len(items), -1)
        yield rows, torch.mm(items, scaled[rows].t(), out=place)


def block_size(queries: Tensor, num_items: int) -> int:
    """Queries whose scores are made together: few enough for a CPU's cache, or to fill a GPU and no more."""
    values, fewest = (1 << 19, 96) if queries.device.type == "cpu" else (1 << 26, 1)
    return max(fewest, values // max(1, num_items))
