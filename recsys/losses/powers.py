"""Powers of two of scores, which no passes over the scores prepare where no score is large."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.losses.blocks import BITS_PER_NAT

_MOST_BITS = 50.0
"""Powers of two up to it, and their reciprocals, add up in float32 over any catalogue, times vectors of any length."""


@dataclass(frozen=True)
class Candidates:
    """Which of K items count for which query, and how much.

    Args:
        log_weights: [K] added to the scores of each.
        excluded: [P] the item that does not count for each query; K where all do.
    """

    log_weights: Tensor
    excluded: Tensor


class Powers:
    """Makes powers of two of the scores of a block, in place.

    Where no score can be large, as with vectors of unit length, the powers are those of the scores themselves. Else
    they are those of what a query's scores lack of its highest one, which takes two more passes over the scores, and
    one for the candidates' weights. Only on a CPU are they asked how large they can be; a GPU would have to be waited
    for.

    Args:
        queries: [P, D].
        items: [K, D].
        own: [P] a score that each query has beside those of the items; -inf where it has none.
        candidates: which items count; all of them alike if None.

    Attributes:
        weights: [K] by which powers are still to be multiplied; None if by nothing.
    """

    def __init__(self, queries: Tensor, items: Tensor, own: Tensor, candidates: Candidates | None) -> None:
        self._candidates = candidates
        self._own_bits = BITS_PER_NAT * own
        log_weights = None if candidates is None else candidates.log_weights
        self._is_small = queries.device.type == "cpu" and _are_small(queries, items, own, log_weights)
        self.weights = log_weights.exp() if self._is_small and log_weights is not None else None

    def __call__(self, scores: Tensor, rows: slice) -> tuple[Tensor, Tensor, Tensor | float]:
        """Powers, the own powers, and the bits by which all of them are too small.

        Shape:
            scores [K or more, p], in bits -> powers [K or more, p], own powers [p], bits [p] or none
        """
        own_bits = self._own_bits[rows]
        if self._is_small:
            powers = scores.exp2_()
            self._exclude(powers, rows, 0.0)
            return powers, own_bits.exp2(), 0.0
        if self._candidates is not None:
            log_weights = self._candidates.log_weights
            scores[: len(log_weights)] += BITS_PER_NAT * log_weights.unsqueeze(1)
        self._exclude(scores, rows, -torch.inf)
        highest = torch.maximum(scores.amax(0), own_bits)
        return scores.sub_(highest).exp2_(), (own_bits - highest).exp2(), highest

    def _exclude(self, values: Tensor, rows: slice, value: float) -> None:
        if self._candidates is not None:
            values.scatter_(0, self._candidates.excluded[rows].unsqueeze(0), value)


def _are_small(queries: Tensor, items: Tensor, own: Tensor, log_weights: Tensor | None) -> bool:
    """Whether scores, with and without weights, and own ones are known to be small; NaN and infinity are not."""
    if not len(queries) or not len(items):
        return False
    most = torch.linalg.vector_norm(queries, dim=1).max() * torch.linalg.vector_norm(items, dim=1).max()
    if log_weights is not None:
        most = most + _largest(log_weights)
    return bool(torch.maximum(most, _largest(own)) * BITS_PER_NAT <= _MOST_BITS)


def _largest(logarithms: Tensor) -> Tensor:
    """The largest absolute value, -inf, which is no weight at all, left aside."""
    return logarithms.masked_fill(logarithms == -torch.inf, 0.0).abs().max()
