"""The order of features on the way in and on the way out; orders that are the identity cost nothing."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Arrangement(nn.Module):
    """Between the order of features and that of groups.

    Args:
        ids_order: rows of the ids that each group takes.
        sizes: features in each piece of output, in the order produced.
        positions: for every feature, where it stands in that order.
    """

    def __init__(self, ids_order: Sequence[Sequence[int]], sizes: Sequence[int], positions: Sequence[int]) -> None:
        super().__init__()
        self._slices = [_as_slice(order) for order in ids_order]
        for group, order in enumerate(ids_order):
            if self._slices[group] is None:
                self.register_buffer(f"order{group}", torch.tensor(order), persistent=False)
        pieces = [(piece, column) for piece, size in enumerate(sizes) for column in range(size)]
        self._runs = _runs([pieces[position] for position in positions])
        self._is_identity = [(piece, 0, size) for piece, size in enumerate(sizes)] == self._runs

    def pick_ids(self, ids: Tensor) -> list[Tensor]:
        """The rows of ids [F1, B] of each group [G, B]."""
        return [
            ids.index_select(0, self.get_buffer(f"order{group}")) if own is None else ids[own]
            for group, own in enumerate(self._slices)
        ]

    def in_feature_order(self, vectors: Sequence[Tensor]) -> Tensor:
        """Pieces [B, G, D] in the order produced -> [B, F, D] in the order of features."""
        if self._is_identity and len(vectors) == 1:
            return vectors[0]
        return torch.cat([vectors[piece].narrow(1, first, length) for piece, first, length in self._runs], dim=1)


def _as_slice(order: Sequence[int]) -> slice | None:
    """Neighbours in ascending order as a slice."""
    return slice(order[0], order[-1] + 1) if list(order) == list(range(order[0], order[-1] + 1)) else None


def _runs(columns: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """Stretches of neighbouring columns of one piece, as (piece, first column, length)."""
    runs: list[tuple[int, int, int]] = []
    for piece, column in columns:
        if runs and runs[-1][0] == piece and column == runs[-1][1] + runs[-1][2]:
            runs[-1] = (piece, runs[-1][1], runs[-1][2] + 1)
        else:
            runs.append((piece, column, 1))
    return runs
