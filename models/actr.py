"""Activations of human memory (ACT-R, Anderson 1983), as used for repeated listening and visiting.

Histories are flat: events [B, L] in time order, each with the number of the session it belongs to. What happens within
or before a session is then a mask over pairs of events, and no padding of sessions is needed.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.models.input_checks import described, is_ordinary


@dataclass(frozen=True)
class Histories:
    """B users' events in time order, cut into sessions.

    Shape:
        items [B, L] ids, 0 for padding at the end; sessions [B, L] number of each event's session, from 0, in order;
        times [B, L] in seconds; references [B, S] the time at which each session's successor begins
    """

    items: Tensor
    sessions: Tensor
    times: Tensor
    references: Tensor

    def __post_init__(self) -> None:
        """Refuse parts that do not go together, and sessions of events that there are not; their numbers on a CPU.

        Raises:
            ValueError: naming the part.
        """
        for name in ("items", "sessions", "times", "references"):
            values, is_id = getattr(self, name), name in ("items", "sessions")
            is_fine = is_ordinary(values) and values.dim() == 2 and not values.is_complex()
            if not is_fine or values.dtype == torch.bool or (is_id and values.is_floating_point()):
                kind = "integers" if is_id else "real numbers"
                raise ValueError(f"Histories: {name} must be {kind} of two dimensions, got {described(values)}.")
            wanted = self.items.shape if name != "references" else (self.items.shape[0], values.shape[1])
            if values.shape != wanted:
                raise ValueError(f"Histories: {name} must be {list(wanted)}, as items are, got {list(values.shape)}.")
        numbers = self.sessions[self.is_event] if self.items.device.type == "cpu" else self.sessions[:0]
        if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < self.references.shape[1]:
            limit = f"[0, {self.references.shape[1]}), the references"
            raise ValueError(
                f"Histories: sessions must be in {limit}, got {int(numbers.min())} to {int(numbers.max())}."
            )

    @property
    def is_event(self) -> Tensor:
        """Bool [B, L]."""
        return self.items != 0

    @property
    def last(self) -> Tensor:
        """Number of each user's last session: [B]."""
        # A zero more, because a process without users has no event to take a maximum of.
        return F.pad(self.sessions, (0, 1)).amax(1)

    @property
    def same_item(self) -> Tensor:
        """Which pairs of events are of one item: bool [B, L, L]."""
        return (self.items.unsqueeze(2) == self.items.unsqueeze(1)) & self.is_event.unsqueeze(1)

    @property
    def firsts(self) -> Tensor:
        """Which events are their item's first: bool [B, L]."""
        order = torch.arange(self.items.shape[1], device=self.items.device)
        return self.is_event & ~(self.same_item & (order.unsqueeze(0) < order.unsqueeze(1))).any(2)

    @property
    def members(self) -> Tensor:
        """Which events stand for the items of each session: bool [B, S, L]; an item's first event in the session."""
        order = torch.arange(self.items.shape[1], device=self.items.device)
        earlier = order.unsqueeze(0) < order.unsqueeze(1)
        same_session = self.sessions.unsqueeze(2) == self.sessions.unsqueeze(1)
        repeated = (self.same_item & same_session & earlier).any(2)
        numbers = torch.arange(self.references.shape[1], device=self.items.device)
        return (self.sessions.unsqueeze(1) == numbers.unsqueeze(1)) & (self.is_event & ~repeated).unsqueeze(1)


def base_level(histories: Histories, decay: float) -> Tensor:
    """How present each event's item is when a session's successor begins.

    The base-level activation of an item is the log of the sum over its past events of (time since) ** -decay. Its
    softmax over the items of a user is therefore the item's share of that sum over all past events, which is what this
    returns, without logs.

    Shape:
        -> [B, S, L], the share of the item of event l at the reference time of session s, from all events up to and
        including session s
    """
    return _shares(_strengths(histories, decay), histories)


def succession(histories: Histories, decay: float) -> Tensor:
    """How much of what has followed a session's last item, whenever it came, each event's item is.

    Spreading activation from the last event, in the user's own memory: each event that came right after one of the same
    item counts as in the base level. Shares of their sum are the fan effect: what leads everywhere evokes little.

    Shape:
        -> [B, S, L], as base_level; 0 where nothing has followed the item yet
    """
    strengths = _strengths(histories, decay)
    last = _is_past(histories).sum(2).sub(1).clamp(min=0)
    cues = histories.items.gather(1, last)
    preceding = F.pad(histories.items, (1, 0))[:, :-1]
    return _shares(strengths * (preceding.unsqueeze(1) == cues.unsqueeze(2)), histories)


def _strengths(histories: Histories, decay: float) -> Tensor:
    """(Time since) ** -decay of every event up to and including a session, 0 of later ones: float64 [B, S, L]."""
    since = (histories.references.unsqueeze(2) - histories.times.unsqueeze(1)).clamp(min=1)
    return _is_past(histories) * since.double() ** -decay


def _is_past(histories: Histories) -> Tensor:
    """Which events belong to a session or one before it: bool [B, S, L]."""
    numbers = torch.arange(histories.references.shape[1], device=histories.items.device)
    return (histories.sessions.unsqueeze(1) <= numbers.unsqueeze(1)) & histories.is_event.unsqueeze(1)


def _shares(strengths: Tensor, histories: Histories) -> Tensor:
    """What share of all strength is that of the events of each event's item: [B, S, L] -> float32 [B, S, L]."""
    total = strengths.sum(2, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    return ((strengths / total) @ histories.same_item.double()).float()


def partial_matching(vectors: Tensor, members: Tensor) -> Tensor:
    """How similar each event's item is to the others of its session.

    Shape:
        vectors [B, L, D], members bool [B, S, L] -> [B, L], sum over the other items of the session of dot products
    """
    weights = members.to(vectors.dtype)
    sums = weights.mT @ (weights @ vectors)
    in_session = members.any(1)
    return ((sums - vectors) * vectors).sum(2) * in_session


class Cooccurrence:
    """How often two items share a session, normalised by how often each does: D^-1/2 A D^-1/2, without a diagonal.

    Kept as sorted pairs, so that memory grows with the pairs that occur and not with the square of the catalogue.

    Args:
        num_items: V; ids are 1..V.
        pairs: [M] int64, first * (V + 1) + second, ascending; each unordered pair twice.
        values: [M] normalised counts.
    """

    def __init__(self, num_items: int, pairs: Tensor, values: Tensor) -> None:
        self.num_items = num_items
        self.pairs = pairs
        self.values = values

    @classmethod
    def of_sessions(cls, num_items: int, items: Tensor, sessions: Tensor) -> Cooccurrence:
        """Count the pairs of distinct items in each session.

        Shape:
            items [N] ids, sessions [N] numbers, in any order
        """
        occurrences = torch.unique(torch.stack([sessions, items]), dim=1)
        _, counts = torch.unique_consecutive(occurrences[0], return_counts=True)
        firsts, seconds = [], []
        for session in occurrences[1].split(counts.tolist()):
            firsts.append(session.repeat_interleave(len(session)))
            seconds.append(session.repeat(len(session)))
        first, second = torch.cat([items[:0], *firsts]), torch.cat([items[:0], *seconds])
        keep = first != second
        pairs, number = torch.unique(first[keep] * (num_items + 1) + second[keep], return_counts=True)
        degree = torch.zeros(num_items + 1, dtype=torch.float64)
        degree.index_add_(0, pairs // (num_items + 1), number.double())
        scale = degree.clamp(min=1).rsqrt()
        values = number * scale[pairs // (num_items + 1)] * scale[pairs % (num_items + 1)]
        return cls(num_items, pairs, values.float())

    def __call__(self, first: Tensor, second: Tensor) -> Tensor:
        """Value of each pair, 0 where it never occurred; ids of one shape -> that shape."""
        if not len(self.pairs):
            return torch.zeros(first.shape, device=first.device)
        wanted = first * (self.num_items + 1) + second
        place = torch.searchsorted(self.pairs, wanted).clamp(max=len(self.pairs) - 1)
        return self.values[place] * (self.pairs[place] == wanted)


def spreading(histories: Histories, members: Tensor, cooccurrence: Cooccurrence) -> Tensor:
    """How strongly the other items of its session evoke each event's item: [B, L]."""
    same_session = (members.mT.float() @ members.float()).bool()
    different = same_session & ~histories.same_item
    batch, first, second = different.nonzero(as_tuple=True)
    values = cooccurrence(histories.items[batch, first], histories.items[batch, second])
    activation = torch.zeros(histories.items.shape, device=values.device)
    return activation.index_put_((batch, first), values, accumulate=True)
