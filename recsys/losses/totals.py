"""Log of the sum of exponentiated scores of many items, in bounded memory and in float32."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.losses.blocks import BITS_PER_NAT, Blocks, block_size
from recsys.losses.checks import check_matrices, check_targets
from recsys.losses.powers import Candidates, Powers


class _SumOfLogTotals(torch.autograd.Function):
    """The sum over all queries, a block of them at a time, less their scores of their targets if there are any.

    It is a scalar, so its gradients are known up to a factor while a block's scores are still at hand: they are made in
    the forward pass, and no scores outlive their block.
    """

    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        items: Tensor,
        own: Tensor,
        targets: Tensor | None,
        candidates: Candidates | None,
        block: int,
    ) -> Tensor:
        powers_of = Powers(queries, items, own, candidates)
        blocks = Blocks(items, candidates is not None, powers_of.weights)
        own_shares = torch.empty_like(own)
        grad_queries, grad_items = torch.empty_like(queries), blocks.zero_gradients()
        total = queries.new_zeros(())
        for rows, scores in blocks.scores(queries, block):
            powers, own_powers, highest = powers_of(scores, rows)
            sums = blocks.sums(powers).add_(own_powers)
            total += (highest + sums.log2()).sum() / BITS_PER_NAT
            # What makes powers shares divides the D columns of these products, not the V rows of powers.
            own_shares[rows] = own_powers / sums
            grad_queries[rows] = blocks.weighted_sums(powers).div_(sums.unsqueeze(1))
            blocks.add_outer_products(grad_items, powers, queries[rows] / sums.unsqueeze(1))
        item_gradients = blocks.of_items(grad_items)
        if targets is not None:
            named = items.index_select(0, targets)
            total -= (queries * named).sum()
            grad_queries -= named
            item_gradients.index_add_(0, targets, queries, alpha=-1)
        ctx.save_for_backward(grad_queries, item_gradients, own_shares)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return (*(saved * grads[0] for saved in ctx.saved_tensors), None, None, None)


class _LogTotals(torch.autograd.Function):
    """Every query's, a block of queries at a time in both passes."""

    @staticmethod
    def forward(ctx: Any, queries: Tensor, items: Tensor, block: int) -> Tensor:
        totals = queries.new_empty(len(queries))
        for rows, scores in Blocks(items).scores(queries, block):
            highest = scores.amax(0)
            totals[rows] = (highest + scores.sub_(highest).exp2_().sum(0).log2()) / BITS_PER_NAT
        ctx.save_for_backward(queries, items, totals)
        ctx.block = block
        return totals

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        queries, items, totals = ctx.saved_tensors
        blocks = Blocks(items)
        grad_queries, grad_items = torch.empty_like(queries), blocks.zero_gradients()
        for rows, scores in blocks.scores(queries, ctx.block):
            shares = scores.sub_(totals[rows] * BITS_PER_NAT).exp2_()
            grad = grads[0][rows].unsqueeze(1)
            grad_queries[rows] = blocks.weighted_sums(shares).mul_(grad)
            blocks.add_outer_products(grad_items, shares, queries[rows] * grad)
        return grad_queries, blocks.of_items(grad_items), None


def sum_of_log_totals(
    queries: Tensor, items: Tensor, own: Tensor | None = None, candidates: Candidates | None = None
) -> Tensor:
    """Sum over the queries of the log of the sum of the exponentiated scores of items, and of one of its own.

    Scores are made in float32 and dropped block by block: on a CPU about 4 MB at a time, or those of 128 queries.

    Shape:
        queries [P, D], items [K, D], own [P] or None -> scalar
    """
    return _summed(queries, items, own, None, candidates)


def sum_of_losses(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Sum of the softmax cross-entropy of every query against all items; scores as in `sum_of_log_totals`.

    Shape:
        queries [P, D], items [V, D], targets [P] in [0, V) -> scalar
    """
    return _summed(queries, items, None, targets, None)


def _summed(
    queries: Tensor, items: Tensor, own: Tensor | None, targets: Tensor | None, candidates: Candidates | None
) -> Tensor:
    with torch.autocast(queries.device.type, enabled=False):
        own = queries.new_full(queries.shape[:1], -torch.inf) if own is None else own
        block = block_size(queries.device, len(items))
        total: Tensor = _SumOfLogTotals.apply(queries.float(), items.float(), own.float(), targets, candidates, block)
    return total


def log_totals(queries: Tensor, items: Tensor) -> Tensor:
    """Log of the sum of every query's exponentiated scores of all items, in float32 and block by block.

    Shape:
        queries [P, D], items [V, D] -> [P]

    Raises:
        ValueError: naming what has another shape.
    """
    check_matrices("log_totals", queries, items)
    with torch.autocast(queries.device.type, enabled=False):
        block = block_size(queries.device, len(items))
        totals: Tensor = _LogTotals.apply(queries.float(), items.float(), block)
    return totals


def linear_cross_entropy(queries: Tensor, items: Tensor, targets: Tensor) -> Tensor:
    """Mean softmax cross-entropy of every query against all items; 0 without queries.

    Shape:
        queries [P, D], items [V, D], targets [P] in [0, V) -> scalar

    Raises:
        ValueError: naming what has another shape, or a target out of range.
    """
    check_matrices("linear_cross_entropy", queries, items)
    check_targets("linear_cross_entropy", targets, queries, len(items))
    return sum_of_losses(queries, items, targets) / max(1, len(targets))
