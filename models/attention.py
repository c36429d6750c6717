"""Softmax attention with dropout of its weights, along the sessions of a packing."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.models.dropped_attention import attend_with_dropout
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
    if dropout > 0 and queries.device.type == "cpu":
        return attend_with_dropout(queries, keys, values, packing, num_heads, dropout, causal)
    read = []
    for group, *parts in zip(packing.groups, *map(packing.split, (queries, keys, values)), strict=True):
        visible = None if causal or not group.is_padded else is_event(group.lengths, group.width)[:, None, None, :]
        query, key, value = (split_heads(part, num_heads) for part in parts)
        attended = F.scaled_dot_product_attention(query, key, value, visible, dropout, is_causal=causal)
        read.append(join_heads(attended))
    return packing.join(read)


def is_event(lengths: Tensor, num_positions: int) -> Tensor:
    """Which positions hold an event: lengths [B] -> bool [B, L]."""
    return torch.arange(num_positions, device=lengths.device) < lengths.unsqueeze(1)
