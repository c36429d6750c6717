"""Softmax attention with dropout of its weights."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from recsys.models.dropout import dropout_mask


def attend(queries: Tensor, keys: Tensor, values: Tensor, dropout: float, visible: Tensor | None = None) -> Tensor:
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
        visible: which positions (last) each one (second last) sees, at least one; None for itself and those before it.
    """
    if dropout == 0 or queries.device.type != "cpu":
        is_causal = visible is None
        return F.scaled_dot_product_attention(queries, keys, values, visible, dropout, is_causal=is_causal)
    scores = (queries / math.sqrt(queries.shape[3])) @ keys.mT
    if visible is None:
        hidden = scores.new_full(scores.shape[2:], -torch.inf).triu(1)
    else:
        hidden = scores.new_zeros(visible.shape).masked_fill(~visible, -torch.inf)
    weights = scores.add_(hidden).softmax(-1)
    return (weights * dropout_mask(weights, dropout)) @ values
