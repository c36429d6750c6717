"""What the session models share: sizes, masks, positions and the feed-forward part.

All of them take events left-aligned, padding at the end, so that a causal model needs no padding mask: a real position
never looks to its right.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from recsys.models.checks import check_at_least
from recsys.models.dropout import Dropout


def check_session_sizes(model: str, embedding_dim: int, max_length: int, num_blocks: int, dropout: float) -> None:
    """Check the arguments that session models have in common.

    Raises:
        ValueError: a size is below 1, or dropout is outside [0, 1).
    """
    for name, value in (("embedding_dim", embedding_dim), ("max_length", max_length), ("num_blocks", num_blocks)):
        check_at_least(model, name, value, 1)
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"{model}: dropout must be in [0, 1), got {dropout}.")


def check_heads(model: str, embedding_dim: int, num_heads: int) -> None:
    """Check that the heads share the width evenly.

    Raises:
        ValueError: num_heads is below 1 or does not divide embedding_dim.
    """
    check_at_least(model, "num_heads", num_heads, 1)
    if embedding_dim % num_heads:
        raise ValueError(f"{model}: num_heads must divide embedding_dim={embedding_dim}, got {num_heads}.")


def is_event(lengths: Tensor, num_positions: int) -> Tensor:
    """Which positions hold an event: lengths [B] -> bool [B, L]."""
    return torch.arange(num_positions, device=lengths.device) < lengths.unsqueeze(1)


def split_heads(values: Tensor, num_heads: int) -> Tensor:
    """[B, L, H * d] -> [B, H, L, d]."""
    return values.unflatten(2, (num_heads, -1)).transpose(1, 2)


def join_heads(values: Tensor) -> Tensor:
    """[B, H, L, d] -> [B, L, H * d]."""
    return values.transpose(1, 2).flatten(2)


class PositionalInput(nn.Module):
    """Item vectors times sqrt(D), plus a learned vector for each position counted from the session's first event.

    Shape:
        vectors [B, L, D], L <= max_length -> [B, L, D]

    Args:
        embedding_dim: D.
        max_length: number of position vectors.
        dropout: probability of zeroing a value, in [0, 1).
    """

    def __init__(self, embedding_dim: int, max_length: int, dropout: float) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(max_length, embedding_dim))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.dropout = Dropout(dropout)
        self.scale = math.sqrt(embedding_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """Add the positions.

        Raises:
            ValueError: sessions are longer than max_length.
        """
        num_positions = vectors.shape[1]
        if num_positions > self.positions.shape[0]:
            raise ValueError(f"sessions of {num_positions} events exceed the model's max_length={len(self.positions)}.")
        output: Tensor = self.dropout(vectors * self.scale + self.positions[:num_positions])
        return output


class FeedForward(nn.Module):
    """Linear, activation, dropout, linear, dropout; no residual.

    Shape:
        [..., D] -> [..., D]

    Args:
        embedding_dim: D.
        hidden_dim: width between the two layers.
        activation: built without arguments.
        dropout: probability of zeroing a value, in [0, 1).
    """

    def __init__(self, embedding_dim: int, hidden_dim: int, activation: type[nn.Module], dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Linear(embedding_dim, hidden_dim)
        self.output = nn.Linear(hidden_dim, embedding_dim)
        self.activation = activation()
        self.dropout = Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        """Apply both layers."""
        hidden: Tensor = self.dropout(self.activation(self.hidden(input)))
        output: Tensor = self.dropout(self.output(hidden))
        return output


def xavier_(module: nn.Module) -> None:
    """Xavier-normal weights and zero biases in every linear layer below a module."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_normal_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
