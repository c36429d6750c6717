"""What a session model is trained on: which events it reads and which items it is to name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from recsys.data import SessionBatch


@dataclass(frozen=True)
class Examples:
    """Events that a model reads, and the positions whose hidden states are scored.

    Shape:
        items [B, L] ids, 0 where there is none to look up; lengths [B]; times [B, L] or None; positions [P] in
        [0, B * L); targets [P] ids, or empty; masked bool [B, L], or None for a model without masked events
    """

    items: Tensor
    lengths: Tensor
    times: Tensor | None
    positions: Tensor
    targets: Tensor
    masked: Tensor | None = None


class Objective(ABC):
    """Turns sessions into examples, for training and for evaluation."""

    num_only_targets: ClassVar[int] = 0
    """Events of a training session that are never read."""
    trims_evaluation: ClassVar[bool] = False
    """Whether evaluation leaves out what exceeds max_length."""

    @abstractmethod
    def check(self, model: str, causal: bool) -> None:
        """Refuse a model that does not fit.

        Raises:
            ValueError: if it does not.
        """

    @abstractmethod
    def training(self, batch: SessionBatch, max_length: int) -> Examples:
        """Events and targets taken from the sessions themselves."""

    @abstractmethod
    def evaluation(self, batch: SessionBatch, max_length: int) -> Examples:
        """Whole sessions, with one position each, whose state stands for what comes next; no targets."""


class NextItem(Objective):
    """Every event predicts the one after it; the model must not look ahead."""

    num_only_targets = 1

    def check(self, model: str, causal: bool) -> None:
        """Only causal models."""
        if not causal:
            raise ValueError(f"NextItem: {model} sees later events and would copy them; use MaskedItems.")

    def training(self, batch: SessionBatch, max_length: int) -> Examples:
        """Sessions without their last event, and their events from the second on."""
        items, times = batch.items[:, :-1], None if batch.times is None else batch.times[:, :-1]
        lengths = (batch.lengths - 1).clamp(min=0)
        targets = batch.items[:, 1:]
        positions = targets.reshape(-1).nonzero().squeeze(1)
        # Events that have a target are exactly those that are read: the last of each session is only a target.
        read = items * (targets != 0)
        return Examples(read, lengths, times, positions, targets.reshape(-1)[positions])

    def evaluation(self, batch: SessionBatch, max_length: int) -> Examples:
        """The state at the last event."""
        first = torch.arange(len(batch.lengths), device=batch.items.device) * batch.items.shape[1]
        positions = first + (batch.lengths - 1).clamp(min=0)
        return Examples(batch.items, batch.lengths, batch.times, positions, batch.items.new_empty(0))


class MaskedItems(Objective):
    """Events hidden at random are told from those around them, as in BERT4Rec.

    In evaluation a hidden event is appended; a session that fills max_length loses its first event for it.

    Args:
        mask_fraction: of a session's events, in (0, 1); at least one is hidden.
        last_only_fraction: sessions of which only the last event is hidden, as in evaluation, in [0, 1].

    Raises:
        ValueError: if a fraction is out of range.
    """

    trims_evaluation = True

    def __init__(self, mask_fraction: float = 0.2, last_only_fraction: float = 0.1) -> None:
        if not 0 < mask_fraction < 1:
            raise ValueError(f"MaskedItems: mask_fraction must be in (0, 1), got {mask_fraction}.")
        if not 0 <= last_only_fraction <= 1:
            raise ValueError(f"MaskedItems: last_only_fraction must be in [0, 1], got {last_only_fraction}.")
        self.mask_fraction = mask_fraction
        self.last_only_fraction = last_only_fraction

    def check(self, model: str, causal: bool) -> None:
        """Only models that see both sides."""
        if causal:
            raise ValueError(f"MaskedItems: {model} does not see later events; use NextItem.")

    def training(self, batch: SessionBatch, max_length: int) -> Examples:
        """The sessions with some events hidden."""
        masked = self._draw(batch)
        positions = masked.reshape(-1).nonzero().squeeze(1)
        targets = batch.items.reshape(-1)[positions]
        return Examples(batch.items.masked_fill(masked, 0), batch.lengths, batch.times, positions, targets, masked)

    def _draw(self, batch: SessionBatch) -> Tensor:
        device, (num_sessions, num_positions) = batch.items.device, batch.items.shape
        if num_positions == 0:
            return batch.items.bool()
        order = torch.arange(num_positions, device=device)
        is_event, is_last = order < batch.lengths.unsqueeze(1), order == batch.lengths.unsqueeze(1) - 1
        chance = torch.rand(num_sessions, num_positions, device=device).masked_fill(~is_event, 2.0)
        masked = (chance < self.mask_fraction) | ((chance == chance.amin(1, keepdim=True)) & is_event)
        last_only = torch.rand(num_sessions, 1, device=device) < self.last_only_fraction
        return torch.where(last_only, is_last, masked)

    def evaluation(self, batch: SessionBatch, max_length: int) -> Examples:
        """The sessions with a hidden event after the last."""
        items, times, lengths = _with_room(batch, max_length)
        order = torch.arange(items.shape[1], device=items.device)
        masked = order == lengths.unsqueeze(1)
        positions = masked.reshape(-1).nonzero().squeeze(1)
        return Examples(items, lengths + 1, times, positions, items.new_empty(0), masked)


def _with_room(batch: SessionBatch, max_length: int) -> tuple[Tensor, Tensor | None, Tensor]:
    """Items, times and lengths with an empty position after every session, of at most max_length positions.

    Full sessions move one to the left, which drops their first event; the hidden event takes the last event's time.
    """
    lengths = batch.lengths.clamp(max=max_length - 1)
    num_positions = int(batch.items.shape[1])
    width = min(max_length, num_positions + 1)
    order = torch.arange(width, device=lengths.device)
    dropped = (batch.lengths - lengths).unsqueeze(1)
    source = (order + dropped).clamp(max=num_positions - 1)
    is_event = order < lengths.unsqueeze(1)
    items = batch.items.gather(1, source) * is_event
    last = (batch.lengths.unsqueeze(1) - 1).clamp(min=0)
    times = None if batch.times is None else batch.times.gather(1, torch.minimum(source, last))
    return items, times, lengths
