"""Memory in the scores: what a user's memory holds of an item raises the item's score, exactly."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.losses import log_totals
from recsys.models.actr import Histories, base_level, succession

# Users [P], the sessions [P] after which they are asked, and the events [P] at which their answers stand.
Places = tuple[Tensor, ...]


@dataclass(frozen=True)
class Memory:
    """An item of which memory holds m has the score s + log(1 + weight * m).

    The softmax is then proportional to exp(s) * (1 + weight * m): what is learnt is how choices differ from memory's.
    m is the item's share of the base level of all of the user's items, plus `succession` times its share of what has
    followed the user's last item. Not in the paper of PISA (arXiv:2408.16578), which has activations in the weights of
    embeddings only.

    Args:
        weight: above 0.
        decay: of both shares, above 0.
        succession: weight of the second share, at least 0.
    """

    weight: float
    decay: float
    succession: float = 0.0

    def odds(self, histories: Histories, presence: Tensor) -> Tensor:
        """The weight times m of each event's item after every session, from its base level: [B, S, L] -> [B, S, L]."""
        if self.succession:
            presence = presence + self.succession * succession(histories, self.decay)
        return self.weight * presence

    def raised(self, scores: Tensor, histories: Histories) -> Tensor:
        """Scores with what memory adds to them after each user's last session.

        Shape:
            scores [B, V] with column c for item c + 1 -> [B, V]
        """
        users = torch.arange(len(scores), device=scores.device)
        odds = self.odds(histories, base_level(histories, self.decay))[users, histories.last]
        added = scores.new_zeros(len(scores), scores.shape[1] + 1)
        return scores + added.scatter(1, histories.items, odds.log1p().to(scores.dtype))[:, 1:]

    def cross_entropy(
        self, queries: Tensor, items: Tensor, histories: Histories, presence: Tensor, places: Places
    ) -> Tensor:
        """Sum of the softmax cross-entropies of targets against all items, with what memory adds to the scores.

        Shape:
            queries [B, S, D] and presence [B, S, L] after every session, items [V, D] of items 1..V -> scalar
        """
        with torch.autocast(queries.device.type, enabled=False):
            return self._cross_entropy(queries.float(), items.float(), histories, presence.float(), places)

    def _cross_entropy(
        self, queries: Tensor, items: Tensor, histories: Histories, presence: Tensor, places: Places
    ) -> Tensor:
        users, sessions, events = places
        states, which = torch.unique(users * queries.shape[1] + sessions, return_inverse=True)
        asked = queries.flatten(0, 1).index_select(0, states)
        odds = self.odds(histories, presence)
        # Every item of a user counts once, at its first event; one that is yet to come is in no memory.
        own_odds = (odds * histories.firsts.unsqueeze(1)).flatten(0, 1).index_select(0, states)
        remembered = items.index_select(0, (histories.items - 1).clamp(min=0).flatten())
        own = queries @ remembered.view(*histories.items.shape, items.shape[1]).mT
        raised = (own.flatten(0, 1).index_select(0, states) + own_odds.log()).logsumexp(1)
        totals = torch.logaddexp(log_totals(asked, items), raised)
        targets = histories.items[users, events] - 1
        wanted = (asked.index_select(0, which) * items.index_select(0, targets)).sum(1)
        wanted = wanted + odds[users, sessions, events].log1p()
        return (totals.index_select(0, which) - wanted).sum()
