"""Scores of a block of queries at a time, in memory that the next block takes over."""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

BITS_PER_NAT = math.log2(math.e)
_PART, _ALIGNMENT, _SHARED = 1024, 32, 4


class Blocks:
    """Items against which queries are scored, a block of queries at a time.

    On a CPU items are cut into parts of equal size: products of a part with a block stay in a core's cache, and cores
    share the parts. Rows that fill up the last part count for nothing.

    Args:
        items: [V, D].
        has_spare: whether there must be a row V, which counts for nothing.
        weights: [V] how much each item counts; as much as every other if None.
    """

    def __init__(self, items: Tensor, has_spare: bool = False, weights: Tensor | None = None) -> None:
        self.num_items = len(items)
        num_rows = self.num_items + has_spare
        num_parts, step = (_num_parts(num_rows), _ALIGNMENT) if items.device.type == "cpu" else (1, 1)
        size = max(1, -(-num_rows // (num_parts * step))) * step
        filling = num_parts * size - self.num_items
        self._parts = (F.pad(items, (0, 0, 0, filling)) if filling else items).view(num_parts, size, -1)
        self._weights = None if weights is None else F.pad(weights, (0, filling)).view(num_parts, size, 1)
        self._weighted = self._parts if self._weights is None else self._parts * self._weights

    def scores(self, queries: Tensor, block: int) -> Iterator[tuple[slice, Tensor]]:
        """Scores in bits, `block` queries or fewer at a time, in memory that the next block takes over.

        Shape:
            queries [P, D] -> rows of the block's p queries, scores [V or more, p], -inf beyond V

        In bits, because exp2 takes half of exp's time on a CPU. A row for each item, because the products are then the
        faster ones, and most so with a multiple of 32 queries.
        """
        num_parts, size, _ = self._parts.shape
        scaled = queries * BITS_PER_NAT
        num_blocks, step = max(1, -(-len(queries) // block)), min(32, block)
        even = max(1, -(-len(queries) // (num_blocks * step)) * step)
        memory = queries.new_empty(num_parts * size * even)
        for first in range(0, len(queries), even):
            rows = slice(first, min(first + even, len(queries)))
            number = rows.stop - first
            place = memory[: num_parts * size * number].view(num_parts, size, number)
            torch.bmm(self._parts, scaled[rows].t().expand(num_parts, -1, -1), out=place)
            scores = place.view(-1, number)
            scores[self.num_items :] = -torch.inf
            yield rows, scores

    def sums(self, powers: Tensor) -> Tensor:
        """Sum of the items' powers for each query of a block, each times its item's weight: [V or more, p] -> [p]."""
        parts = powers.view(*self._parts.shape[:2], -1)
        if self._weights is None:
            return parts.sum(1).sum(0)
        return torch.bmm(self._weights.mT, parts).sum((0, 1))

    def weighted_sums(self, powers: Tensor) -> Tensor:
        """Sum of the items for each query of a block, times powers and weights: [V or more, p] -> [p, D]."""
        return torch.bmm(powers.view(*self._parts.shape[:2], -1).mT, self._weighted).sum(0)

    def zero_gradients(self) -> Tensor:
        """Where `add_outer_products` adds up."""
        return torch.zeros_like(self._parts)

    def add_outer_products(self, gradients: Tensor, powers: Tensor, queries: Tensor) -> None:
        """Add to each item's gradient the queries of a block, times powers alone: [V or more, p], [p, D]."""
        num_parts, size, _ = self._parts.shape
        gradients.baddbmm_(powers.view(num_parts, size, -1), queries.expand(num_parts, -1, -1))

    def of_items(self, gradients: Tensor) -> Tensor:
        """The gradients of the items themselves, times the weights: [V, D]."""
        weighted = gradients if self._weights is None else gradients.mul_(self._weights)
        return weighted.flatten(0, 1)[: self.num_items]


def _num_parts(num_rows: int) -> int:
    """Parts that two or four cores share evenly; as many whatever the number of cores, on which no sum is to depend."""
    num_parts = max(1, num_rows // _PART)
    return num_parts if num_parts <= _SHARED else -(-num_parts // _SHARED) * _SHARED


def block_size(device: torch.device, num_items: int) -> int:
    """Queries whose scores are made together: few enough for a CPU's cache, or to fill a GPU and no more."""
    values, fewest = (1 << 20, 128) if device.type == "cpu" else (1 << 26, 1)
    return max(fewest, values // max(1, num_items))
