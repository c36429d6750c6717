"""DLRM: a bottom MLP, dot products of all pairs, a top MLP."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.click_model import ClickModel
from recsys.models.interactions import PairwiseDots
from recsys.models.linear import concat_padded
from recsys.models.mlp import MLP, LogitMLP


class DLRM(ClickModel):
    """DLRM (Naumov et al., 2019, arXiv:1906.00091): embeddings and dense features meet in dot products.

    The bottom MLP maps the dense features to one more vector of width D; the top MLP reads that vector and the dot
    products of all pairs of different vectors. Without dense features there is no bottom MLP.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Differs from the paper: weights start Xavier-normal and biases at 0 (there: biases normal, standard deviation
    sqrt(1 / width)); optional dropout and batch norm.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.
        bottom_dims: hidden widths of the bottom MLP; a last layer of width D is added.
        top_dims: hidden widths of the top MLP.
        activation: class of the activation, after every layer but the last of the top MLP.
        dropout: probability of zeroing a hidden value of the top MLP, in [0, 1).
        batch_norm: normalise every hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a size or width is too small, there is no pair of vectors, or dropout is outside [0, 1).
    """

    @typed
    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        num_dense: int,
        *,
        bottom_dims: Sequence[int] = (512, 256, 64),
        top_dims: Sequence[int] = (512, 256),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        has_dense = num_dense > 0
        if num_features + has_dense < 2:
            raise ValueError("DLRM: needs two features to form a pair, got num_features=1 and num_dense=0.")
        bottom_dims = (*bottom_dims, embedding_dim)
        self.bottom = MLP(num_dense, bottom_dims, activation=activation, batch_norm=batch_norm) if has_dense else None
        self.pairwise_dots = PairwiseDots(num_features + has_dense)
        top_input_dim = has_dense * embedding_dim + self.pairwise_dots.output_dim
        self.top = LogitMLP(top_input_dim, top_dims, activation=activation, dropout=dropout, batch_norm=batch_norm)

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        if self.bottom is None:
            inputs = concat_padded(self.pairwise_dots(embeddings))
        else:
            dense_vector = self.bottom(dense)
            # Narrow before they are copied: the products are made of narrow values anyhow.
            vectors = torch.cat([dense_vector.unsqueeze(1), embeddings.to(dense_vector.dtype)], dim=1)
            inputs = concat_padded(dense_vector, self.pairwise_dots(vectors))
        logits: Tensor = self.top(inputs)
        return logits
