"""Sessions of unequal length one after the other, without padding; and side by side where attention wants them so."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


@dataclass(frozen=True)
class Group:
    """Sessions of similar length that stand side by side.

    Shape:
        lengths [b], of sessions padded to width l

    Args:
        lengths: of the sessions, at least 1 each.
        width: of the longest.
        is_padded: whether any is shorter.
    """

    lengths: Tensor
    width: int
    is_padded: bool

    def __len__(self) -> int:
        return self.lengths.numel()


class Packing:
    """Where the events of B sessions stand when sessions lie one after the other, the longest first.

    Layers that look at one event at a time read [N, D], one row for each place. What looks along a session reads groups
    of sessions that are padded to the longest of the group. A session without events has a place, too, so that it has
    a state; such places are the last ones.

    Attributes:
        num_events: places that hold an event, the first ones.
        num_places: N.
        width: places of the longest session; 0 without sessions.
        rows: [N] the session of each place.
        positions: [N] how many events of its session come before each place.
        on_host: both on the CPU.
        first: [B] the first place of each session.
        last: [B] the last place of each session.
        groups: of sessions of similar length, in the order of places.

    Args:
        lengths: [B], of the sessions, on the CPU; a GPU's would have to be waited for.
        device: where the places are to be used.
        max_padding: places of padding that a group may have, at least 1; a group more costs about as much time.
    """

    def __init__(self, lengths: Tensor, device: torch.device | str = "cpu", max_padding: int | None = None) -> None:
        self.device = torch.device(device)
        if max_padding is None:
            max_padding = 1024 if self.device.type == "cpu" else 1 << 16
        descending, order = lengths.sort(descending=True, stable=True)
        widths = descending.clamp(min=1)
        stops = widths.cumsum(0)
        starts = stops - widths
        self.num_events = int(lengths.sum())
        self.num_places = int(widths.sum())
        self.width = int(widths[0]) if len(widths) else 0
        self._widths = widths
        rows, positions = order.repeat_interleave(widths), torch.arange(self.num_places)
        self.on_host = rows, positions - starts.repeat_interleave(widths)
        self.rows, self.positions = map(self._moved, self.on_host)
        self.first = self._moved(torch.empty_like(order).index_copy_(0, order, starts))
        self.last = self._moved(torch.empty_like(order).index_copy_(0, order, stops - 1))
        self._make_groups(max_padding)

    def _make_groups(self, max_padding: int) -> None:
        cuts, group_widths = _cut(self._widths.tolist(), max_padding)
        sizes = torch.tensor([stop - start for start, stop in pairwise(cuts)], dtype=torch.int64)
        of_sessions = torch.tensor(group_widths, dtype=torch.int64).repeat_interleave(sizes)
        slots = of_sessions.cumsum(0) - of_sessions
        self.num_slots = int(of_sessions.sum())
        is_padded = self.num_slots > self.num_places
        # Where each place stands among the groups' padded ones; None where it stands as it is.
        self._slots = self._moved(slots.repeat_interleave(self._widths) + self.on_host[1]) if is_padded else None
        parts = self._widths.split(sizes.tolist())
        padded = [int(part.sum()) < width * len(part) for part, width in zip(parts, group_widths, strict=True)]
        on_device = self._moved(self._widths).split(sizes.tolist())
        self.groups = tuple(map(Group, on_device, group_widths, padded))

    def _moved(self, values: Tensor) -> Tensor:
        return values.to(self.device, non_blocking=True)

    def time_major(self) -> tuple[Tensor, Tensor]:
        """Places ordered by position: [N] of them, and on the CPU how many there are of each position."""
        counts = self._widths.flip(0)
        widest = torch.arange(self.width)
        sizes = len(counts) - torch.searchsorted(counts, widest, right=True)
        positions = torch.arange(self.width).repeat_interleave(sizes)
        ranks = torch.arange(self.num_places) - (sizes.cumsum(0) - sizes).repeat_interleave(sizes)
        starts = self._widths.cumsum(0) - self._widths
        return self._moved(starts[ranks] + positions), sizes

    def flat(self, num_positions: int) -> Tensor:
        """Where each place stands in the flattened [B, L] of padded sessions: [N]."""
        return self.rows * num_positions + self.positions

    def pack(self, values: Tensor) -> Tensor:
        """Padded sessions [B, L, ...], L at least the width -> [N, ...]."""
        return values.flatten(0, 1).index_select(0, self.flat(values.shape[1]))

    def unpack(self, values: Tensor, num_positions: int) -> Tensor:
        """[N, D] -> padded sessions [B, L, D], zeros where there is no place."""
        padded = values.new_zeros(len(self.first) * num_positions, values.shape[1])
        return padded.index_copy_(0, self.flat(num_positions), values).view(-1, num_positions, values.shape[1])

    def split(self, values: Tensor) -> list[Tensor]:
        """[N, ...] -> [b, l, ...] of each group; zeros stand in for padding."""
        if self._slots is not None:
            values = values.new_zeros(self.num_slots, *values.shape[1:]).index_copy_(0, self._slots, values)
        sizes = [len(group) * group.width for group in self.groups]
        parts = values.split(sizes)
        return [part.unflatten(0, (len(group), group.width)) for part, group in zip(parts, self.groups, strict=True)]

    def join(self, parts: Sequence[Tensor]) -> Tensor:
        """[b, l, D] of each group -> [N, D]."""
        flat = [part.flatten(0, 1) for part in parts]
        joined = flat[0] if len(flat) == 1 else torch.cat(flat)
        return joined if self._slots is None else take_places(joined, self._slots)


def take_places(values: Tensor, places: Tensor) -> Tensor:
    """Rows of values at places that are all different: `index_select`, whose gradient is then a copy and no sum."""
    taken: Tensor = _TakePlaces.apply(values, places)
    return taken


class _TakePlaces(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.shape = values.shape
        return values.index_select(0, places)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (places,) = ctx.saved_tensors
        return grads[0].new_zeros(ctx.shape).index_copy_(0, places, grads[0]), None


def _cut(descending: Sequence[int], max_padding: int) -> tuple[list[int], list[int]]:
    """Where groups start, and at last where they end; and their widths."""
    cuts, widths, padding = [0], [max([1, *descending[:1]])], 0
    for number, length in enumerate(descending):
        padding += widths[-1] - length
        if padding > max_padding:
            cuts.append(number)
            widths.append(length)
            padding = 0
    return [*cuts, len(descending)], widths
