"""Feature gates of FinalMLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.models.linear import PaddedLinear
from recsys.models.mlp import MLP


class FeatureGate(nn.Module):
    """Scale every input value by 2 * sigmoid(MLP(context)), between 0 and 2 (arXiv:2304.00902, equation 8).

    Shape:
        inputs [B, input_dim], embeddings [B, F, D], dense [B, num_dense] -> [B, input_dim]; zero columns stay zero.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features.
        gate_dims: hidden widths of the gate's MLP.
        context: positions of the features the gate reads: 0 .. F - 1 are embeddings, F + j is dense feature j. When
            empty the gate reads one learned vector of width D, the same for every row, which starts at 0.

    Raises:
        ValueError: a position is outside [0, F + num_dense), or is given twice.
    """

    positions: Tensor
    dense_positions: Tensor

    def __init__(
        self, num_features: int, embedding_dim: int, num_dense: int, gate_dims: Sequence[int], context: Sequence[int]
    ) -> None:
        super().__init__()
        _check_context(context, num_features + num_dense)
        positions = torch.tensor([p for p in context if p < num_features], dtype=torch.long)
        dense_positions = torch.tensor([p - num_features for p in context if p >= num_features], dtype=torch.long)
        self.register_buffer("positions", positions, persistent=False)
        self.register_buffer("dense_positions", dense_positions, persistent=False)
        context_dim = len(positions) * embedding_dim + len(dense_positions)
        self.learned_context = None if context else nn.Parameter(torch.zeros(1, embedding_dim))
        self.hidden = MLP(context_dim if context else embedding_dim, gate_dims)
        input_dim = num_features * embedding_dim + num_dense
        self.gate = PaddedLinear(self.hidden.output_dim, input_dim, pad_output=True)

    def forward(self, inputs: Tensor, embeddings: Tensor, dense: Tensor) -> Tensor:
        """Gate the inputs."""
        if self.learned_context is not None:
            context: Tensor = self.learned_context
        else:
            chosen = embeddings.index_select(1, self.positions).flatten(1)
            context = torch.cat([chosen, dense.index_select(1, self.dense_positions)], dim=1)
        gates: Tensor = self.gate(self.hidden(context))
        return 2.0 * inputs * gates.sigmoid()


def _check_context(context: Sequence[int], num_positions: int) -> None:
    wrong = [position for position in context if not 0 <= position < num_positions]
    if wrong or len(set(context)) < len(context):
        raise ValueError(
            f"FinalMLP: gate contexts must be different positions in [0, num_features + num_dense={num_positions}), "
            f"got {list(context)}."
        )
