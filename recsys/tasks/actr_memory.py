"""Base-level activation in the scores: what a user's memory holds of an item raises its score, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.losses import log_totals
from recsys.models.actr import Histories, base_level

# Users [P], the sessions [P] after which they are asked, and the events [P] at which their answers stand.
Places = tuple[Tensor, ...]


@dataclass(frozen=True)
class Memory:
    """An item whose share of the base level of all of a user's items is m has the score s + log(1 + weight * m).

    The softmax is then proportional to exp(s) * (1 + weight * m): what is learnt is how choices differ from memory's.
    Not in the paper of PISA (arXiv:2408.16578), which has the base level in the weights of embeddings only.

    Args:
        weight: above 0.
        decay: of the base level, above 0.
    """

    weight: float
    decay: float

    def raised(self, scores: Tensor, histories: Histories) -> Tensor:
        """Scores with what memory adds to them after each user's last session.

        Shape:
            scores [B, V] with column c for item c + 1 -> [B, V]
        """
        users = torch.arange(len(scores), device=scores.device)
        odds = self.weight * base_level(histories, self.decay)[users, histories.last]
        added = scores.new_zeros(len(scores), scores.shape[1] + 1)
        return scores + added.scatter(1, histories.items, odds.log1p().to(scores.dtype))[:, 1:]

    def cross_entropy(
        self, queries: Tensor, items: Tensor, histories: Histories, presence: Tensor, places: Places
    ) -> Tensor:
        """Sum of the softmax cross-entropies of targets against all items, with what memory adds to the scores.

        Shape:
            queries [B, S, D] and presence [B, S, L] after every session, items [V, D] of items 1..V -> scalar
        """
        users, sessions, events = places
        states, which = torch.unique(users * queries.shape[1] + sessions, return_inverse=True)
        asked = queries.flatten(0, 1).index_select(0, states)
        # Every item of a user counts once, at its first event; one that is yet to come has no presence.
        odds = (self.weight * presence * histories.firsts.unsqueeze(1)).flatten(0, 1).index_select(0, states)
        remembered = items.index_select(0, (histories.items - 1).clamp(min=0).flatten())
        own = queries @ remembered.view(*histories.items.shape, items.shape[1]).mT
        raised = (own.flatten(0, 1).index_select(0, states) + odds.log()).logsumexp(1)
        totals = torch.logaddexp(log_totals(asked, items), raised)
        targets = histories.items[users, events] - 1
        wanted = (asked.index_select(0, which) * items.index_select(0, targets)).sum(1)
        wanted = wanted + (self.weight * presence[users, sessions, events]).log1p()
        return (totals.index_select(0, which) - wanted).sum()
