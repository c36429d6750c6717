"""Logistic regression, the baseline."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.click_model import ClickModel
from recsys.models.linear import widened


class LogisticRegression(ClickModel):
    """The sum of all embedding values, a weight for each dense feature, and a bias.

    With embedding_dim = 1 this is logistic regression on one-hot ids; wider embeddings are summed and add nothing.
    The weights and the bias start at 0.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.

    Raises:
        ValueError: a size is too small.
    """

    @typed
    def __init__(self, num_features: int, embedding_dim: int, num_dense: int) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        self.dense_weight = nn.Parameter(torch.zeros(num_dense))
        self.bias = nn.Parameter(torch.zeros(()))

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        linear = widened(embeddings).flatten(1).sum(dim=1) + (dense * widened(self.dense_weight)).sum(dim=1)
        return linear + widened(self.bias)
