"""What one group of features asks of a lookup in one batch, and how the answers are put together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where the rows of a matrix are.

    Args:
        store: which store of the lookup.
        first_row: of the matrix, among the rows of the store.
    """

    store: int
    first_row: int


@dataclass(frozen=True)
class Request:
    """Row numbers that one group of features asks for.

    Shape:
        rows [G, K, N] of the matrices, -1 is no row; first_rows [G, K, 1] or [G, K, N], where a matrix begins in its
        store -> rows of all K side by side [N, G, W], or their sum [N, G, D]

    Args:
        rows: see above.
        first_rows: see above.
        stores: that each of the K lookups reads.
        matrices: that may be read.
        sums: the K rows, all of one store, are added up.
    """

    rows: Tensor
    first_rows: Tensor
    stores: tuple[int, ...]
    matrices: frozenset[str]
    sums: bool = False

    @property
    def num_summed(self) -> int:
        """Neighbouring row numbers whose rows are added up."""
        return len(self.stores) if self.sums else 1

    def of(self, store: int) -> tuple[Tensor, Tensor]:
        """The same rows [G, K', N] of those K' lookups that read a store, and where their matrices begin."""
        runs = self.runs(store)
        return _picked(self.rows, runs, len(self.stores)), _picked(self.first_rows, runs, len(self.stores))

    def runs(self, store: int) -> list[tuple[int, int]]:
        """Neighbouring lookups that read a store, as (first, past the last)."""
        reads = [each == store for each in self.stores]
        edges = [slot for slot, (before, after) in enumerate(pairwise([False, *reads, False])) if before != after]
        return list(zip(edges[::2], edges[1::2], strict=True))


def _picked(values: Tensor, runs: Sequence[tuple[int, int]], num_lookups: int) -> Tensor:
    if runs == [(0, num_lookups)]:
        return values
    pieces = [values[:, first:last] for first, last in runs]
    return pieces[0] if len(pieces) == 1 else torch.cat(pieces, dim=1)


def without_common_matrices(requests: Sequence[Request], asked: Sequence[int]) -> list[list[int]]:
    """Requests apart that read no matrix together: neither their rows nor their gradients are copied to one place."""
    parts: list[tuple[list[int], frozenset[str]]] = []
    for i in asked:
        met = [part for part in parts if part[1] & requests[i].matrices]
        parts = [part for part in parts if part not in met]
        members = sorted([i, *(each for part in met for each in part[0])])
        parts.append((members, requests[i].matrices.union(*(part[1] for part in met))))
    return [members for members, _ in parts]


def side_by_side(request: Request, found: Mapping[int, Tensor]) -> Tensor:
    """What every store gave for a request, put together in the order of its lookups: [N, G, W], or sums [N, G, D]."""
    num_groups, _, num_ids = request.rows.shape
    if len(found) == 1:
        (vectors,) = found.values()
        return vectors.view(num_ids, num_groups, len(request.stores) // request.num_summed * vectors.shape[1])
    pieces: dict[int, Tensor] = {}
    for store, vectors in found.items():
        runs = request.runs(store)
        num_lookups = sum(last - first for first, last in runs)
        by_lookup = vectors.view(num_ids, num_groups, num_lookups, vectors.shape[1])
        for (first, _), piece in zip(runs, by_lookup.split([last - first for first, last in runs], dim=2), strict=True):
            pieces[first] = piece.flatten(2)
    return torch.cat([pieces[first] for first in sorted(pieces)], dim=2)
