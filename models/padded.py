"""Sessions side by side in a program, which does not know how long they are while it is made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recsys.models.packing import Group, Packing


class PaddedSessions(Packing):
    """B sessions of W places each, of which the first `lengths` are theirs: one group, nothing known on the CPU.

    A causal model's states there do not depend on the places behind them; any other model is told the lengths.

    Shape:
        lengths [B] in [1, W]

    Args:
        lengths: of the sessions.
        width: W.
    """

    def __init__(self, lengths: Tensor, width: int) -> None:
        sessions, places = (
            torch.arange(lengths.shape[0], device=lengths.device),
            torch.arange(width, device=lengths.device),
        )
        self.device, self.width = lengths.device, width
        self.num_events = self.num_places = lengths.shape[0] * width
        self.rows = sessions.unsqueeze(1).expand(-1, width).flatten()
        self.positions = places.expand(lengths.shape[0], -1).flatten()
        self.first = sessions * width
        self.last = self.first + lengths - 1
        self.groups = (Group(lengths, width, True),)

    def split(self, values: Tensor) -> list[Tensor]:
        """[N, ...] -> [B, W, ...]."""
        return [values.reshape(self.groups[0].lengths.shape[0], self.width, *values.shape[1:])]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """[B, W, D] -> [N, D]."""
        (values,) = parts
        return values.flatten(0, 1)
