"""DeepFM: a factorisation machine and an MLP over the same embeddings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.click_model import ClickModel
from recsys.models.interactions import factorization_machine
from recsys.models.linear import LogitLinear, concat_padded
from recsys.models.mlp import LogitMLP


class DeepFM(ClickModel):
    """DeepFM (Guo et al., 2017, arXiv:1703.04247): linear terms, all pairs and an MLP, added.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Differs from the paper: the first-order weight of an id is a learned linear function of its embedding, one for each
    feature, so that no second table is needed. A dense feature is in the pairs as its value times a learned vector,
    which starts normal with standard deviation .01, and in the linear part and the MLP as its value. Other weights
    start Xavier-normal and biases at 0.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.
        hidden_dims: hidden widths of the MLP.
        activation: class of the activation.
        dropout: probability of zeroing a hidden value, in [0, 1).
        batch_norm: normalise every hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a size or width is too small, or dropout is outside [0, 1).
    """

    @typed
    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        num_dense: int,
        *,
        hidden_dims: Sequence[int] = (400, 400, 400),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        input_dim = num_features * embedding_dim + num_dense
        self.linear = LogitLinear(input_dim, bias=False)
        self.dense_vectors = nn.Parameter(0.01 * torch.randn(num_dense, embedding_dim))
        self.mlp = LogitMLP(input_dim, hidden_dims, activation=activation, dropout=dropout, batch_norm=batch_norm)

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        inputs = concat_padded(embeddings.flatten(1), dense)
        pairs = factorization_machine(embeddings, dense, self.dense_vectors)
        logits: Tensor = self.linear(inputs) + pairs + self.mlp(inputs)
        return logits
