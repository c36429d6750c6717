"""What the session models share: checks of sizes, positions and the feed-forward part."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.checks import check_at_least, check_depth, check_dropout
from recsys.models.dropout import Dropout
from recsys.models.packing import Packing


def check_session_sizes(model: str, embedding_dim: int, max_length: int, num_blocks: int, dropout: float) -> None:
    """Check the arguments that session models have in common.

    Raises:
        ValueError: a size is below 1, or dropout is outside [0, 1).
    """
    for name, value in (("embedding_dim", embedding_dim), ("max_length", max_length)):
        check_at_least(model, name, value, 1)
    check_depth(model, "num_blocks", num_blocks)
    check_dropout(model, dropout)


def check_heads(model: str, embedding_dim: int, num_heads: int) -> None:
    """Check that the heads share the width evenly.

    Raises:
        ValueError: num_heads is below 1 or does not divide embedding_dim.
    """
    check_at_least(model, "num_heads", num_heads, 1)
    if embedding_dim % num_heads:
        raise ValueError(f"{model}: num_heads must divide embedding_dim={embedding_dim}, got {num_heads}.")


class PositionalInput(nn.Module):
    """Item vectors times sqrt(D), plus a learned vector for each position counted from the session's first event.

    Shape:
        vectors [N, D] -> [N, D]

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

    def forward(self, vectors: Tensor, packing: Packing) -> Tensor:
        """Add the positions.

        Raises:
            ValueError: sessions are longer than max_length.
        """
        if packing.width > len(self.positions):
            raise ValueError(f"sessions of {packing.width} events exceed the model's max_length={len(self.positions)}.")
        positions = F.embedding(packing.positions, self.positions)
        output: Tensor = self.dropout(torch.add(positions, vectors, alpha=self.scale))
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
