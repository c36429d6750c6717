"""Softmax attention with dropout of its weights on a CPU, along the sessions of a packing, as one operation."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from recsys.models.dropout import dropout_mask
from recsys.models.packing import Group, Packing


def attend_with_dropout(
    queries: Tensor, keys: Tensor, values: Tensor, packing: Packing, num_heads: int, dropout: float, causal: bool
) -> Tensor:
    """What `attend_in_sessions` reads, on a CPU, with a dropout above 0.

    torch has no fused kernel for it, and a batch of sessions is small, so that what is left to save is the number of
    operations: forward and backward pass are written out, and neither is recorded piece by piece.

    Shape:
        queries, keys [N, H * d], values [N, H * e], of one dtype -> [N, H * e]
    """
    read: Tensor = _DroppedAttention.apply(queries, keys, values, packing, num_heads, dropout, causal)
    return read


class _DroppedAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        packing: Packing,
        num_heads: int,
        dropout: float,
        causal: bool,
    ) -> Tensor:
        ctx.packing, ctx.num_heads, ctx.scale = packing, num_heads, math.sqrt(num_heads / queries.shape[1])
        read, kept = [], []
        with torch.autocast("cpu", enabled=False):
            for group, *parts in zip(packing.groups, *map(packing.split, (queries, keys, values)), strict=True):
                query, key, value = (_apart(part, num_heads) for part in parts)
                bias = _bias(group, query, num_heads, causal)
                weights = torch.baddbmm(bias, query, key.mT, alpha=ctx.scale).softmax(-1)
                dropped = weights * dropout_mask(weights, dropout)
                read.append(_together(torch.bmm(dropped, value), num_heads))
                kept += [query, key, value, weights, dropped]
        ctx.save_for_backward(*kept)
        return packing.join(read)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        kept, packing, num_heads = iter(ctx.saved_tensors), ctx.packing, ctx.num_heads
        found: list[list[Tensor]] = [[], [], []]
        for part in packing.split(grads[0]):
            grad = _apart(part, num_heads)
            query, key, value, weights, dropped = (next(kept) for _ in range(5))
            # The sum that softmax's gradient subtracts is the same with the dropped weights and their gradients.
            shares = torch.bmm(grad, value.mT).mul_(dropped)
            scores = shares.addcmul(weights, shares.sum(-1, keepdim=True), value=-1)
            of_group = (
                torch.baddbmm(query, scores, key, beta=0, alpha=ctx.scale),
                torch.baddbmm(key, scores.mT, query, beta=0, alpha=ctx.scale),
                torch.bmm(dropped.mT, grad),
            )
            for each, own in zip(found, of_group, strict=True):
                each.append(_together(own, num_heads))
        return (*map(packing.join, found), None, None, None, None)


def _apart(values: Tensor, num_heads: int) -> Tensor:
    """[b, l, H * d] -> [b * H, l, d]."""
    return values if num_heads == 1 else values.unflatten(2, (num_heads, -1)).transpose(1, 2).flatten(0, 1)


def _together(values: Tensor, num_heads: int) -> Tensor:
    """[b * H, l, d] -> [b, l, H * d]."""
    return values if num_heads == 1 else values.unflatten(0, (-1, num_heads)).transpose(1, 2).flatten(2)


def _bias(group: Group, query: Tensor, num_heads: int, causal: bool) -> Tensor:
    """What is added to scores, -inf where a place sees nothing: broadcasts to [b * H, l, l]."""
    if causal:
        # A place sees no padding, which comes after all events.
        return query.new_full((group.width, group.width), -torch.inf).triu_(1)
    if not group.is_padded:
        return query.new_zeros(())
    is_padding = torch.arange(group.width) >= group.lengths.unsqueeze(1)
    hidden = query.new_zeros(is_padding.shape).masked_fill_(is_padding, -torch.inf)
    return hidden.repeat_interleave(num_heads, dim=0).unsqueeze(1)
