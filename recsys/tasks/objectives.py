"""What a session model is trained on: which events it reads and which items it is to name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.argument_types import typed
from recsys.data import SessionBatch
from recsys.models.checks import check_share
from recsys.models.packing import Packing
from recsys.tasks.batch_checks import check_events


@dataclass(frozen=True)
class Examples:
    """Events that a model reads, one session after the other, and the places whose hidden states are scored.

    Shape:
        packing of N places; inputs [M] ids to look up; read [M] their places, None for the first M; scored [P] places,
        None for those that are read; targets [P] ids, or empty; times [N] or None; masked bool [N], or None for a
        model without masked events

    All places are known on the CPU: a GPU is never waited for.
    """

    packing: Packing
    inputs: Tensor
    targets: Tensor
    times: Tensor | None
    read: Tensor | None = None
    scored: Tensor | None = None
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
        """Whole sessions, with one place each, whose state stands for what comes next; no targets."""


class NextItem(Objective):
    """Every event predicts the one after it; the model must not look ahead."""

    num_only_targets = 1

    def check(self, model: str, causal: bool) -> None:
        """Only causal models."""
        if not causal:
            raise ValueError(f"NextItem: {model} sees later events and would copy them; use MaskedItems.")

    def training(self, batch: SessionBatch, max_length: int) -> Examples:
        """Sessions without their last event, and their events from the second on."""
        check_events("NextItem", batch, max_length)
        packing, flat = _packed(batch, (_lengths(batch) - 1).clamp(min=0))
        events, items = flat[: packing.num_events], _flattened(batch.items)
        return Examples(packing, items[events], items[events + 1], _times(batch, flat))

    def evaluation(self, batch: SessionBatch, max_length: int) -> Examples:
        """The state at the last event."""
        check_events("NextItem", batch, max_length)
        packing, flat = _packed(batch, _lengths(batch))
        items = _flattened(batch.items)
        inputs = items[flat[: packing.num_events]]
        return Examples(packing, inputs, items.new_empty(0), _times(batch, flat), scored=packing.last)


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

    @typed
    def __init__(self, mask_fraction: float = 0.2, last_only_fraction: float = 0.1) -> None:
        if not 0 < mask_fraction < 1:
            raise ValueError(f"MaskedItems: mask_fraction must be in (0, 1), got {mask_fraction}.")
        check_share("MaskedItems", "last_only_fraction", last_only_fraction)
        self.mask_fraction = mask_fraction
        self.last_only_fraction = last_only_fraction

    def check(self, model: str, causal: bool) -> None:
        """Only models that see both sides."""
        if causal:
            raise ValueError(f"MaskedItems: {model} does not see later events; use NextItem.")

    def training(self, batch: SessionBatch, max_length: int) -> Examples:
        """The sessions with some events hidden."""
        check_events("MaskedItems", batch, max_length)
        lengths = _lengths(batch)
        packing = Packing(lengths, batch.items.device)
        rows, positions = packing.on_host
        masked = _draw(lengths, self.mask_fraction, self.last_only_fraction)[rows, positions]
        return _with_masked(batch, packing, rows, positions, masked)

    def evaluation(self, batch: SessionBatch, max_length: int) -> Examples:
        """The sessions with a hidden event after the last."""
        check_events("MaskedItems", batch, max_length)
        lengths = _lengths(batch)
        kept = lengths.clamp(max=max_length - 1)
        packing = Packing(kept + 1, batch.items.device)
        rows, positions = packing.on_host
        # A session that fills max_length loses its first event; the hidden event takes the last event's time.
        sources = torch.minimum(positions + (lengths - kept)[rows], (lengths - 1).clamp(min=0)[rows])
        examples = _with_masked(batch, packing, rows, sources, positions == kept[rows])
        return replace(examples, targets=examples.targets[:0], scored=packing.last)


def _with_masked(batch: SessionBatch, packing: Packing, rows: Tensor, sources: Tensor, masked: Tensor) -> Examples:
    """Examples whose places read the events `sources` of sessions `rows`, or are to name those that are masked: [N]."""
    device = batch.items.device
    is_event = torch.arange(packing.num_places) < packing.num_events
    flat = (rows * max(1, batch.items.shape[1]) + sources).to(device, non_blocking=True)
    read, scored = (
        chosen.nonzero().squeeze(1).to(device, non_blocking=True) for chosen in (is_event & ~masked, masked)
    )
    items = _flattened(batch.items)
    return Examples(
        packing,
        items[flat[read]],
        items[flat[scored]],
        _times(batch, flat),
        read,
        scored,
        masked.to(device, non_blocking=True),
    )


def _draw(lengths: Tensor, mask_fraction: float, last_only_fraction: float) -> Tensor:
    """Which events of every session are hidden, one at least: lengths [B] -> bool [B, longest]."""
    order = torch.arange(max(1, int(lengths.max())) if len(lengths) else 1)
    is_event, is_last = order < lengths.unsqueeze(1), order == lengths.unsqueeze(1) - 1
    chance = torch.rand(is_event.shape).masked_fill(~is_event, 2.0)
    masked = (chance < mask_fraction) | ((chance == chance.amin(1, keepdim=True)) & is_event)
    last_only = torch.rand(len(lengths), 1) < last_only_fraction
    return torch.where(last_only, is_last, masked)


def _packed(batch: SessionBatch, lengths: Tensor) -> tuple[Packing, Tensor]:
    """The first events of every session, and where each place stands in the flattened [B, L]."""
    packing = Packing(lengths, batch.items.device)
    return packing, packing.flat(max(1, batch.items.shape[1]))


def _times(batch: SessionBatch, flat: Tensor) -> Tensor | None:
    return None if batch.times is None else _flattened(batch.times)[flat]


def _lengths(batch: SessionBatch) -> Tensor:
    assert batch.host_lengths is not None
    return batch.host_lengths


def _flattened(values: Tensor) -> Tensor:
    """[B, L] -> [B * L], with a position at least, because a session without events has a place."""
    return (values if values.shape[1] else F.pad(values, (0, 1))).reshape(-1)
