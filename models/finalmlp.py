"""FinalMLP: two MLPs whose outputs meet in a bilinear product."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.checks import check_at_least
from recsys.models.click_model import ClickModel
from recsys.models.gates import FeatureGate
from recsys.models.linear import LogitLinear, concat_padded
from recsys.models.mlp import MLP


class BilinearFusion(nn.Module):
    """w0 + w1 . o1 + w2 . o2 + sum over heads h of o1_h^T W_h o2_h (arXiv:2304.00902, equations 10 and 11).

    Shape:
        o1 [B, dim1], o2 [B, dim2] -> logits [B], in the precision of the weights.

    Args:
        dim1: width of the first stream.
        dim2: width of the second stream.
        num_heads: pieces each stream is cut into.

    Raises:
        ValueError: num_heads is below 1 or does not divide both widths.
    """

    def __init__(self, dim1: int, dim2: int, num_heads: int) -> None:
        super().__init__()
        check_at_least("FinalMLP", "num_heads", num_heads, 1)
        if dim1 % num_heads or dim2 % num_heads:
            raise ValueError(
                f"FinalMLP: num_heads must divide the last width of both streams, {dim1} and {dim2}, got {num_heads}."
            )
        self.linear1 = LogitLinear(dim1)
        self.linear2 = LogitLinear(dim2, bias=False)
        self.head_weight = nn.Parameter(torch.empty(num_heads, dim1 // num_heads, dim2 // num_heads))
        for weight in self.head_weight.unbind():
            nn.init.xavier_normal_(weight)

    def forward(self, o1: Tensor, o2: Tensor) -> Tensor:
        """Fuse the two streams."""
        num_heads = self.head_weight.shape[0]
        heads1 = o1.view(o1.shape[0], num_heads, self.head_weight.shape[1]).transpose(0, 1)
        heads2 = o2.view(o2.shape[0], num_heads, self.head_weight.shape[2]).transpose(0, 1)
        products = torch.bmm(heads1, self.head_weight) * heads2
        bilinear = products.sum(dim=(0, 2), dtype=self.head_weight.dtype)
        logits: Tensor = self.linear1(o1) + self.linear2(o2) + bilinear
        return logits


class FinalMLP(ClickModel):
    """FinalMLP (Mao et al., 2023, arXiv:2304.00902): two MLPs over gated inputs, fused bilinearly.

    Shape:
        embeddings [B, F, D], dense [B, num_dense] -> logits [B].

    Differs from the paper: dense features enter as they are, not as embeddings, and are gated one value each. Weights
    start Xavier-normal, biases and learned contexts at 0.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.
        stream1_dims: widths of the first MLP, at least one.
        stream2_dims: widths of the second MLP, at least one.
        num_heads: pieces each stream's output is cut into for the bilinear product.
        gate_dims: hidden widths of the feature gates; None for no gates.
        gate1_context: positions of the features that drive the first stream's gate: 0 .. F - 1 are embeddings, F + j
            is dense feature j; empty for a learned vector.
        gate2_context: the same for the second stream.
        activation: class of the activation in the streams; gates use ReLU.
        dropout: probability of zeroing a hidden value of a stream, in [0, 1).
        batch_norm: normalise every layer of the streams over the batch, one of a single row by the running
            statistics.

    Raises:
        ValueError: a size or width is too small, num_heads does not divide the last widths, a context is given
            without gates or is not a list of different positions, or dropout is outside [0, 1).
    """

    @typed
    def __init__(
        self,
        num_features: int,
        embedding_dim: int,
        num_dense: int,
        *,
        stream1_dims: Sequence[int] = (400, 400, 400),
        stream2_dims: Sequence[int] = (1000,),
        num_heads: int = 50,
        gate_dims: Sequence[int] | None = None,
        gate1_context: Sequence[int] = (),
        gate2_context: Sequence[int] = (),
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__(num_features, embedding_dim, num_dense)
        if gate_dims is None and (gate1_context or gate2_context):
            raise ValueError("FinalMLP: gate1_context and gate2_context need gates; set gate_dims, for example [800].")
        if not stream1_dims or not stream2_dims:
            raise ValueError("FinalMLP: stream1_dims and stream2_dims need at least one width each, for example [400].")
        self.gates: nn.ModuleList | None = None
        if gate_dims is not None:
            self.gates = nn.ModuleList(
                FeatureGate(num_features, embedding_dim, num_dense, gate_dims, context)
                for context in (gate1_context, gate2_context)
            )
        input_dim = num_features * embedding_dim + num_dense
        self.stream1, self.stream2 = (
            MLP(input_dim, dims, activation=activation, dropout=dropout, batch_norm=batch_norm)
            for dims in (stream1_dims, stream2_dims)
        )
        self.fusion = BilinearFusion(self.stream1.output_dim, self.stream2.output_dim, num_heads)

    def forward(self, embeddings: Tensor, dense: Tensor) -> Tensor:
        """One logit for each row."""
        self.check(embeddings, dense)
        inputs1 = inputs2 = concat_padded(embeddings.flatten(1), dense)
        if self.gates is not None:
            inputs1, inputs2 = (gate(inputs1, embeddings, dense) for gate in self.gates)
        logits: Tensor = self.fusion(self.stream1(inputs1), self.stream2(inputs2))
        return logits
