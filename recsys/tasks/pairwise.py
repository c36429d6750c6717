"""The pairwise losses that PISA's paper trains it with."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor

from recsys.models.checks import check_at_least, check_share
from recsys.models.pisa import UserStates
from recsys.tasks.actr_memory import Places


def pairwise_loss(queries: Tensor, positives: Tensor, negatives: Tensor) -> Tensor:
    """Bayesian personalised ranking: sum of -log sigmoid(query . (positive - negative)); [P, D] each -> scalar."""
    return F.softplus(-(queries * (positives - negatives)).sum(1)).sum()


@dataclass(frozen=True)
class PairwiseLosses:
    """Ranking by state, session and long-term taste, each apart, and agreement of state and session.

    Args:
        session_share: weight of the target session's own embedding against the user's state.
        cosine_share: weight of drawing the user's state to the target session's embedding, against ranking.
        long_term_weight: of the long-term taste.

    Raises:
        ValueError: if a weight is out of range.
    """

    session_share: float
    cosine_share: float
    long_term_weight: float

    def __post_init__(self) -> None:
        """Refuse what is no weight."""
        check_share("PISATask", "session_share", self.session_share)
        check_share("PISATask", "cosine_share", self.cosine_share)
        check_at_least("PISATask", "long_term_weight", self.long_term_weight, 0)

    def __call__(self, states: UserStates, places: Places, positives: Tensor, negatives: Tensor) -> Tensor:
        """Their sum over the targets, from the vectors [P, D] of targets and negatives, in float32."""
        users, sessions, _ = places
        positives, negatives = positives.float(), negatives.float()
        before, target = states.users[users, sessions].float(), states.sessions[users, sessions + 1].float()
        ranking = self.session_share * pairwise_loss(target, positives, negatives)
        ranking = ranking + (1 - self.session_share) * pairwise_loss(before, positives, negatives)
        long_term = states.long_term[users, sessions].float()
        ranking = ranking + self.long_term_weight * pairwise_loss(long_term, positives, negatives)
        apart = (1 - F.cosine_similarity(before, target, dim=1)).sum()
        return (1 - self.cosine_share) * ranking + self.cosine_share * apart
