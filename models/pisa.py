"""PISA, psychology-informed session embedding using ACT-R (Tran et al., RecSys 2024, arXiv:2408.16578)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.actr import Histories, base_level, partial_matching
from recsys.models.checks import check_at_least, check_positive
from recsys.models.input_checks import check_fits_parameters, check_floats, described
from recsys.models.packing import Packing
from recsys.models.sasrec import SASRecBlock
from recsys.models.sequence import check_heads, check_session_sizes, xavier_

COMPONENTS = 3


@dataclass(frozen=True)
class UserStates:
    """What PISA knows of users after each of their sessions; rows of absent sessions hold no meaning.

    Shape:
        users [B, S, D], sessions [B, S, D] embeddings of the sessions themselves, long_term [B, S, D], presence
        [B, S, L] of each event's item (see base_level)
    """

    users: Tensor
    sessions: Tensor
    long_term: Tensor
    presence: Tensor


class PISA(nn.Module):
    """Sessions weighted by memory, a causal transformer over them, and long-term taste.

    A session is the sum of its items, each weighted by what memory holds of it: how recent and frequent it is
    (base level), what its companions evoke (spreading) and how alike they are (partial matching). A causal transformer
    reads the sessions; its output and the user's strongest items of all time are mixed by learned shares.

    Shape:
        vectors [B, L, D] of the events' items, Histories of B users, spreading [B, L] -> UserStates

    Differs from the paper: sessions are not cut to ten items; the base level and the long-term taste after a session
    are made of all events up to it, in training as in evaluation.

    Args:
        embedding_dim: D.
        max_length: most sessions of a user.
        num_blocks: attention blocks.
        num_heads: attention heads; divides D.
        dropout: probability of zeroing a value, in [0, 1).
        decay: of the base level, above 0.
        flatness: power of the activations in a session, in (0, 1]; below 1 it evens them out.
        num_favourites: items of the long-term taste; 0 leaves it out.
        long_term_flatness: power of their presence in the long-term taste, in (0, 1]. The paper's is 1; below 1 the
            weaker favourites stay apart from the chance similarity of items that share no session.
        components: weights with which base level, spreading and partial matching start; 0 leaves one out for good.

    Raises:
        ValueError: an argument is out of range.
    """

    causal: ClassVar[bool] = True

    @typed
    def __init__(
        self,
        embedding_dim: int,
        max_length: int,
        *,
        num_blocks: int = 2,
        num_heads: int = 2,
        dropout: float = 0.0,
        decay: float = 0.5,
        flatness: float = 0.5,
        num_favourites: int = 20,
        long_term_flatness: float = 1.0,
        components: tuple[float, float, float] = (0.1, 0.1, 0.1),
    ) -> None:
        super().__init__()
        check_session_sizes("PISA", embedding_dim, max_length, num_blocks, dropout)
        check_heads("PISA", embedding_dim, num_heads)
        check_at_least("PISA", "num_favourites", num_favourites, 0)
        check_positive("PISA", "decay", decay)
        for name, value in (("flatness", flatness), ("long_term_flatness", long_term_flatness)):
            if not 0 < value <= 1:
                raise ValueError(f"PISA: {name} must be in (0, 1], got {value}.")
        known = all(0 <= weight < math.inf for weight in components)
        if len(components) != COMPONENTS or not known or not any(components):
            raise ValueError(f"PISA: components must be three weights, none negative, one above 0; got {components}.")
        self.decay = decay
        self.flatness = flatness
        self.num_favourites = num_favourites
        self.long_term_flatness = long_term_flatness
        self.component_weights = nn.Parameter(torch.tensor([float(weight) for weight in components]))
        self.register_buffer("components_used", torch.tensor([weight > 0 for weight in components]), persistent=False)
        self.positions = nn.Parameter(torch.empty(max_length, embedding_dim))
        self.blocks = nn.ModuleList(SASRecBlock(embedding_dim, num_heads, dropout) for _ in range(num_blocks))
        self.mixture = nn.Linear(2 * embedding_dim, 2) if num_favourites else None
        self.scale = math.sqrt(embedding_dim)
        nn.init.trunc_normal_(self.positions, std=0.02)
        xavier_(self)

    def forward(self, vectors: Tensor, histories: Histories, spreading: Tensor) -> UserStates:
        """States after each session.

        Raises:
            ValueError: an input is of another kind or size, or users have more sessions than max_length.
        """
        self._check(vectors, histories, spreading)
        num_sessions = histories.references.shape[1]
        if num_sessions > len(self.positions):
            raise ValueError(f"PISA: {num_sessions} sessions exceed the model's max_length={len(self.positions)}.")
        presence = base_level(histories, self.decay).to(vectors.dtype)
        sessions = self.session_embeddings(vectors, histories, presence, spreading)
        short_term = F.normalize(self.read(sessions), dim=2)
        long_term = self.long_term(vectors, histories, presence)
        users = self._mixed(long_term, short_term)
        return UserStates(F.normalize(users + sessions, dim=2), sessions, long_term, presence)

    def _check(self, vectors: Tensor, histories: Histories, spreading: Tensor) -> None:
        if not isinstance(histories, Histories):
            raise ValueError(f"PISA: histories must be Histories, got {described(histories)}.")
        num_users, num_events = histories.items.shape
        check_floats("PISA", "vectors", vectors, (), (num_users, num_events, self.positions.shape[1]))
        check_floats("PISA", "spreading", spreading, (), (num_users, num_events))
        check_fits_parameters(self, "vectors", vectors)

    def read(self, sessions: Tensor) -> Tensor:
        """What the transformer makes of each session and those before it: [B, S, D] -> [B, S, D]."""
        num_users, num_sessions = sessions.shape[:2]
        packing = Packing(torch.full((num_users,), num_sessions), sessions.device)
        hidden = (sessions * self.scale + self.positions[:num_sessions]).flatten(0, 1)
        for block in self.blocks:
            hidden = block(hidden, packing)
        return hidden.view_as(sessions)

    def _mixed(self, long_term: Tensor, short_term: Tensor) -> Tensor:
        """Both [B, S, D] by learned shares."""
        if self.mixture is None:
            return short_term
        shares = self.mixture(torch.cat([long_term, short_term], dim=2)).softmax(2)
        return shares[..., :1] * long_term + shares[..., 1:] * short_term

    def session_embeddings(self, vectors: Tensor, histories: Histories, presence: Tensor, spreading: Tensor) -> Tensor:
        """Sum of each session's item vectors, weighted by their activations: [B, S, D]."""
        members = histories.members
        own_presence = (presence * members).sum(1)
        matching = partial_matching(vectors, members)
        activations = torch.stack([own_presence, spreading.to(vectors.dtype), matching], dim=2)
        weights = self.component_weights.relu() * self.get_buffer("components_used")
        strength = (activations.relu() * weights).sum(2) + 1e-8
        shares = members * (strength**self.flatness).unsqueeze(1)
        shares = shares / shares.sum(2, keepdim=True).clamp(min=1e-12)
        return shares @ vectors

    def long_term(self, vectors: Tensor, histories: Histories, presence: Tensor) -> Tensor:
        """The user's most present items after each session, weighted by evened presence: unit vectors [B, S, D]."""
        distinct = presence * histories.firsts.unsqueeze(1)
        best = distinct.topk(min(self.num_favourites, distinct.shape[2]), dim=2)
        favourites = torch.zeros_like(distinct).scatter_(2, best.indices, best.values**self.long_term_flatness)
        return F.normalize(favourites @ vectors, dim=2)
