"""Softmax cross-entropy of targets among negatives that all targets share, in bounded memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.losses.blocks import BITS_PER_NAT, block_size, scores_in_blocks

# Negatives [H] and the queries [H] whose targets they are, ascending.
Hits = tuple[Tensor, Tensor]


class _SharedCrossEntropy(torch.autograd.Function):
    """Sum of the cross-entropies, a block of queries at a time; gradients come with the forward pass, as in full.py."""

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        wanted: Tensor,
        negatives: Tensor,
        offsets: tuple[Tensor, Tensor],
        hits: Hits,
        block: int,
    ) -> Tensor:
        own_offset, offset = (BITS_PER_NAT * part for part in offsets)
        own_scores = BITS_PER_NAT * (queries * wanted).sum(1) - own_offset
        own_shares, totals = torch.empty_like(own_scores), torch.empty_like(own_scores)
        grad_queries, grad_negatives = torch.empty_like(queries), torch.zeros_like(negatives)
        found = _hits_before(hits, len(queries))
        for rows, scores in scores_in_blocks(queries, negatives, block):
            scores.sub_(offset.unsqueeze(1))
            # A query's own target is none of its negatives.
            own = slice(found[rows.start], found[rows.stop])
            scores[hits[0][own], hits[1][own] - rows.start] = -torch.inf
            highest = torch.maximum(scores.amax(0), own_scores[rows])
            powers, own_powers = scores.sub_(highest).exp2_(), (own_scores[rows] - highest).exp2_()
            sums = powers.sum(0).add_(own_powers)
            totals[rows] = highest + sums.log2()
            own_shares[rows] = own_powers / sums
            torch.mm(powers.t(), negatives, out=grad_queries[rows]).div_(sums.unsqueeze(1))
            grad_negatives.addmm_(powers, queries[rows] / sums.unsqueeze(1))
        lacking = (own_shares - 1).unsqueeze(1)
        ctx.save_for_backward(grad_queries.addcmul_(lacking, wanted), lacking * queries, grad_negatives)
        return (totals - own_scores).sum() / BITS_PER_NAT

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None)


def _hits_before(hits: Hits, num_queries: int) -> list[int]:
    """How many hits the queries before each one have, and then all of them."""
    return [0, *torch.bincount(hits[1], minlength=num_queries).cumsum(0).tolist()]


def hits_among(drawn: Tensor, targets: Tensor) -> Hits:
    """Which of the ids drawn [K] are whose targets [P], without a comparison of all with all."""
    ascending, order = drawn.sort()
    first = torch.searchsorted(ascending, targets)
    counts = torch.searchsorted(ascending, targets, right=True) - first
    queries = torch.arange(len(targets), device=targets.device).repeat_interleave(counts)
    number = torch.arange(len(queries), device=targets.device) - (counts.cumsum(0) - counts)[queries]
    return order[first[queries] + number], queries


def shared_cross_entropy(
    queries: Tensor, wanted: Tensor, negatives: Tensor, offsets: tuple[Tensor, Tensor], hits: Hits
) -> Tensor:
    """Sum over the queries of the softmax cross-entropy of the target among the negatives and itself; 0 without any.

    Args:
        queries: [P, D].
        wanted: [P, D], the target's vector of each.
        negatives: [K, D], their vectors, the same for all queries.
        offsets: [P] of the targets and [K] of the negatives; taken from their scores.
        hits: see hits_among; these do not count as negatives.
    """
    with torch.autocast(queries.device.type, enabled=False):
        if not len(negatives):
            return 0 * (queries * wanted).sum()
        vectors = queries.float(), wanted.float(), negatives.float()
        corrections = offsets[0].float(), offsets[1].float()
        block = block_size(queries, len(negatives))
        loss: Tensor = _SharedCrossEntropy.apply(*vectors, corrections, hits, block)
    return loss
