"""Sessions of a batch in groups of similar length, so that a model reads little padding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

import torch
from torch import Tensor


class LengthGroups:
    """Groups the sessions of a batch, whose lengths may differ as much as they like.

    Batches whose sessions are all of one length need no padding either, but they are no fair samples: see
    SessionDataModule's bucket_batches.

    Args:
        lengths: [B], of the sessions; at least 0.
        num_positions: L, of the batch.
        max_padding: positions of padding that a group may have, at least 1; a group more costs about as much time.
    """

    def __init__(self, lengths: Tensor, num_positions: int, max_padding: int | None = None) -> None:
        if max_padding is None:
            max_padding = 1024 if lengths.device.type == "cpu" else 1 << 16
        narrowest = min(1, num_positions)
        descending, order = lengths.clamp(min=narrowest).sort(descending=True)
        cuts, self._widths = _cut(descending.tolist(), narrowest, max_padding)
        self._rows = [order[start:stop] for start, stop in pairwise(cuts)]
        self._sizes = [width * len(rows) for width, rows in zip(self._widths, self._rows, strict=True)]
        widths = torch.cat(
            [rows.new_full(rows.shape, width) for width, rows in zip(self._widths, self._rows, strict=True)]
        )
        self._first = torch.empty_like(order).index_copy_(0, order, widths.cumsum(0) - widths)
        self._num_positions = num_positions

    @property
    def num_groups(self) -> int:
        """At least one, be it empty."""
        return len(self._rows)

    @property
    def num_places(self) -> int:
        """Positions of all groups, with what padding they have."""
        return sum(self._sizes)

    def places(self, positions: Tensor) -> Tensor:
        """Where positions [P] in [0, B * L) of events lie among the groups' [0, num_places)."""
        rows = positions.div(self._num_positions, rounding_mode="floor")
        return self._first[rows] + positions - rows * self._num_positions

    def split(self, values: Tensor) -> Iterator[Tensor]:
        """Values [num_places, D], by place, as [b, l, D] for each group."""
        for part, width, rows in zip(values.split(self._sizes), self._widths, self._rows, strict=True):
            yield part.view(len(rows), width, part.shape[1])

    def take(self, values: Tensor) -> Iterator[Tensor]:
        """Values [B] or [B, L], by session, as [b] or [b, l] for each group."""
        for rows, width in zip(self._rows, self._widths, strict=True):
            yield values[rows] if values.dim() == 1 else values[rows, :width]


def _cut(descending: Sequence[int], narrowest: int, max_padding: int) -> tuple[list[int], list[int]]:
    """Where groups start, and at last where they end; and their widths."""
    cuts, widths, padding = [0], [max([narrowest, *descending[:1]])], 0
    for number, length in enumerate(descending):
        padding += widths[-1] - length
        if padding > max_padding:
            cuts.append(number)
            widths.append(length)
            padding = 0
    return [*cuts, len(descending)], widths
