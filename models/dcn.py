"""DCNv2: explicit feature crosses, beside or below an MLP."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.click_model import ClickModel
from recsys.models.cross import CrossNetwork
from recsys.models.linear import LogitLinear, concat_padded
from recsys.models.mlp import LogitMLP


class DCNv2(ClickModel):
    """DCN-V2, parallel (Wang et al., 2021, arXiv:2008.13535, section 3): the logits of crosses and of an MLP, added.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Differs from the paper: a low rank is one factorised matrix, not a mixture of experts. Weights start Xavier-normal
    and biases at 0.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.
        num_cross_layers: cross layers; degree of the highest cross, less one.
        low_rank: rank of each cross matrix; None for full matrices.
        hidden_dims: hidden widths of the MLP.
        activation: class of the activation.
        dropout: probability of zeroing a hidden value, in [0, 1).
        batch_norm: normalise every hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a size, count or width is too small, or dropout is outside [0, 1).
    """

    @typed
    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        num_dense: int,
        *,
        num_cross_layers: int = 3,
        low_rank: int | None = None,
        hidden_dims: Sequence[int] = (500, 500, 500),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        input_dim = num_features * embedding_dim + num_dense
        self.cross = CrossNetwork(input_dim, num_cross_layers, low_rank=low_rank)
        self.cross_output = LogitLinear(input_dim, bias=False)
        self.mlp = LogitMLP(input_dim, hidden_dims, activation=activation, dropout=dropout, batch_norm=batch_norm)

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        inputs = concat_padded(embeddings.flatten(1), dense)
        logits: Tensor = self.cross_output(self.cross(inputs)) + self.mlp(inputs)
        return logits


class StackedDCNv2(ClickModel):
    """DCN-V2, stacked (Wang et al., 2021, arXiv:2008.13535, section 3): an MLP reads the crosses.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Differs from the paper: as ``DCNv2``.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.
        num_cross_layers: cross layers; degree of the highest cross, less one.
        low_rank: rank of each cross matrix; None for full matrices.
        hidden_dims: hidden widths of the MLP.
        activation: class of the activation.
        dropout: probability of zeroing a hidden value, in [0, 1).
        batch_norm: normalise every hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a size, count or width is too small, or dropout is outside [0, 1).
    """

    @typed
    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        num_dense: int,
        *,
        num_cross_layers: int = 3,
        low_rank: int | None = None,
        hidden_dims: Sequence[int] = (500, 500, 500),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        input_dim = num_features * embedding_dim + num_dense
        self.cross = CrossNetwork(input_dim, num_cross_layers, low_rank=low_rank)
        self.mlp = LogitMLP(input_dim, hidden_dims, activation=activation, dropout=dropout, batch_norm=batch_norm)

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        logits: Tensor = self.mlp(self.cross(concat_padded(embeddings.flatten(1), dense)))
        return logits
