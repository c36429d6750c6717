"""What a session data module yields and a next-item task consumes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.tables import Bag


@dataclass(eq=False)
class SessionBatch:
    """B sessions, events left-aligned, padding id 0 at the end.

    Shape:
        items [B, L] int64; lengths [B]; times [B, L] int64 seconds or None; users [B] or None; targets [B] the item to
        be ranked, None in training; seen: ids not to be recommended to each session, or None; history: all earlier
        ids of each session, also those before items, or None; host_lengths: the lengths on the CPU, so that nobody has
        to wait for a GPU to tell them, made of lengths if None
    """

    items: Tensor
    lengths: Tensor
    times: Tensor | None = None
    users: Tensor | None = None
    targets: Tensor | None = None
    seen: Bag | None = None
    history: Bag | None = None
    host_lengths: Tensor | None = None

    def __post_init__(self) -> None:
        """Keep the lengths where they are asked for."""
        if self.host_lengths is None:
            self.host_lengths = self.lengths.cpu()

    def __len__(self) -> int:
        return self.lengths.numel()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SessionBatch:
        """The same batch on another device."""

        def moved(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else tensor.to(device, non_blocking=non_blocking)

        return SessionBatch(
            self.items.to(device, non_blocking=non_blocking),
            self.lengths.to(device, non_blocking=non_blocking),
            moved(self.times),
            moved(self.users),
            moved(self.targets),
            None if self.seen is None else self.seen.to(device, non_blocking),
            None if self.history is None else self.history.to(device, non_blocking),
            self.host_lengths,
        )
