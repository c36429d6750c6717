"""Softmax attention with dropout of its weights, along the sessions of a packing."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.models.dropout import dropout_mask
from recsys.models.packing import Packing


def split_heads(values: Tensor, num_heads: int) -> Tensor:
    """[B, L, H * d] -> [B, H, L, d]."""
    return values.unflatten(2, (num_heads, -1)).transpose(1, 2)


def join_heads(values: Tensor) -> Tensor:
    """[B, H, L, d] -> [B, L, H * d]."""
    return values.transpose(1, 2).flatten(2)


def attend_in_sessions(
    queries: Tensor, keys: Tensor, values: Tensor, packing: Packing, num_heads: int, dropout: float, causal: bool
) -> Tensor:
    """What every place reads from those of its session that it sees.

    Shape:
        queries, keys [N, H * d], values [N, H * e] -> [N, H * e]

    Args:
        queries: what each place looks for.
        keys: what each place is found by.
        values: what each place has to give.
        packing: of the sessions.
        num_heads: H.
        dropout: probability of dropping a weight, in [0, 1).
        causal: whether a place sees itself and those before it, or all.
    """
    read = []
    for group, *parts in zip(packing.groups, *map(packing.split, (queries, keys, values)), strict=True):
        visible = None if causal or not group.is_padded else is_event(group.lengths, group.width)[:, None, None, :]
        query, key, value = (split_heads(part, num_heads) for part in parts)
        read.append(join_heads(attend(query, key, value, dropout, causal, visible)))
    return packing.join(read)


def is_event(lengths: Tensor, num_positions: int) -> Tensor:
    """Which positions hold an event: lengths [B] -> bool [B, L]."""
    return torch.arange(num_positions, device=lengths.device) < lengths.unsqueeze(1)


def attend(
    queries: Tensor, keys: Tensor, values: Tensor, dropout: float, causal: bool, visible: Tensor | None = None
) -> Tensor:
    """What every position reads from those it sees.

    torch has a fused kernel for it, but none on a CPU with dropout; there the sums are written out, at about half the
    time of torch's own.

    Shape:
        queries, keys [B, H, L, d], values [B, H, L, e], visible bool that broadcasts to [B, H, L, L] -> [B, H, L, e]

    Args:
        queries: what each position looks for.
        keys: what each position is found by.
        values: what each position has to give.
        dropout: probability of dropping a weight, in [0, 1).
        causal: whether a position sees itself and those before it alone; then `visible` is not looked at.
        visible: which positions (last) each one (second last) sees, at least one; None for all.
    """
    if dropout == 0 or queries.device.type != "cpu":
        mask = None if causal else visible
        return F.scaled_dot_product_attention(queries, keys, values, mask, dropout, is_causal=causal)
    scores = (queries / math.sqrt(queries.shape[3])) @ keys.mT
    if causal:
        scores = scores.add_(scores.new_full(scores.shape[2:], -torch.inf).triu(1))
    elif visible is not None:
        scores = scores.masked_fill_(~visible, -torch.inf)
    weights = scores.softmax(-1)
    return (weights * dropout_mask(weights, dropout)) @ values
