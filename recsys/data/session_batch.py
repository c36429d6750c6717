"""What a session data module yields and a next-item task consumes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.data.transfer import moved
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
        """Keep the lengths where they are asked for, and refuse parts that do not go together.

        Raises:
            ValueError: naming the part.
        """
        self._check_kinds()
        if self.host_lengths is None:
            self.host_lengths = self.lengths.cpu()
        if len(self) and not self.lengths.is_meta:
            low, high = (int(each) for each in self.host_lengths.aminmax())
            if low < 0 or high > self.items.shape[1]:
                limit = f"[0, L={self.items.shape[1]}]"
                raise ValueError(f"SessionBatch: lengths must be in {limit}, got {low if low < 0 else high}.")
        if self.lengths.device.type == "cpu" and bool((self.host_lengths != self.lengths).any()):
            raise ValueError("SessionBatch: host_lengths must be the lengths, on the CPU; leave them out.")

    def _check_kinds(self) -> None:
        num_sessions = len(self.lengths) if isinstance(self.lengths, Tensor) and self.lengths.dim() == 1 else -1
        width = self.items.shape[1] if isinstance(self.items, Tensor) and self.items.dim() == 2 else -1
        flat, padded = (num_sessions,), (num_sessions, width)
        shapes = {"items": padded, "lengths": flat, "times": padded, "users": flat, "targets": flat}
        for name, shape in {**shapes, "host_lengths": flat}.items():
            values = getattr(self, name)
            if values is None and name not in ("items", "lengths"):
                continue
            is_tensor = isinstance(values, Tensor)
            if not is_tensor or values.shape != shape or values.is_floating_point() or values.dtype == torch.bool:
                got = f"{list(values.shape)} of {values.dtype}" if is_tensor else type(values).__name__
                wanted = "[B, L]" if len(shape) == 2 else "[B]"
                raise ValueError(f"SessionBatch: {name} must be a Tensor {wanted} of integers, got {got}.")
        for name in ("seen", "history"):
            bag = getattr(self, name)
            if bag is not None and (not isinstance(bag, Bag) or len(bag) != num_sessions):
                got = f"one of {len(bag)}" if isinstance(bag, Bag) else type(bag).__name__
                raise ValueError(f"SessionBatch: {name} must be a Bag of {num_sessions} sessions, got {got}.")

    def __len__(self) -> int:
        return self.lengths.numel()

    def to(self, device: torch.device | str, non_blocking: bool = False) -> SessionBatch:
        """The same batch on another device; out of page-locked memory without a wait."""
        return self._made_of(moved(self._tensors(), device, non_blocking))

    def pin_memory(self) -> SessionBatch:
        """The same batch in page-locked memory."""
        return self._made_of([tensor.pin_memory() for tensor in self._tensors()])

    def _tensors(self) -> list[Tensor]:
        plain = [self.items, self.lengths, self.times, self.users, self.targets]
        bags = [tensor for bag in (self.seen, self.history) if bag is not None for tensor in bag.tensors()]
        return [*(tensor for tensor in plain if tensor is not None), *bags]

    def _made_of(self, tensors: Sequence[Tensor]) -> SessionBatch:
        """A batch with other tensors in the places of `_tensors()`."""
        found = iter(tensors)

        def one(tensor: Tensor | None) -> Tensor | None:
            return None if tensor is None else next(found)

        def bag(own: Bag | None) -> Bag | None:
            return None if own is None else Bag(*(next(found) for _ in own.tensors()))

        items, lengths = next(found), next(found)
        times, users, targets = one(self.times), one(self.users), one(self.targets)
        return SessionBatch(items, lengths, times, users, targets, bag(self.seen), bag(self.history), self.host_lengths)
