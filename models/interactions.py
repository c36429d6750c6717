"""How feature vectors meet: dot products of all pairs, factorisation machines."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from recsys.models.checks import check_at_least
from recsys.models.linear import widened


def factorization_machine(embeddings: Tensor, dense: Tensor, dense_vectors: Tensor) -> Tensor:
    """Sum of the dot products of all pairs of features, in time linear in their number (Rendle, 2010, lemma 3.1).

    A dense feature takes part with its value times its vector; these products are never laid out in memory. The sum is
    a difference of squares, and part of a logit: it is made in float32 at least.

    Shape:
        embeddings [B, F, D], dense [B, num_dense], dense_vectors [num_dense, D] -> [B].
    """
    embeddings, dense_vectors = widened(embeddings), widened(dense_vectors)
    dense = dense.to(dense_vectors.dtype)
    with torch.autocast(embeddings.device.type, enabled=False):
        square_of_sum = (embeddings.sum(dim=1) + dense @ dense_vectors).square().sum(dim=1)
        sum_of_squares = embeddings.flatten(1).square().sum(dim=1) + dense.square() @ dense_vectors.square().sum(dim=1)
    return 0.5 * (square_of_sum - sum_of_squares)


class PairwiseDots(nn.Module):
    """Dot product of every pair of different vectors, each pair once: (1, 0), (2, 0), (2, 1), (3, 0) and so on.

    Shape:
        vectors [B, num_vectors, D] -> [B, output_dim] with output_dim = num_vectors * (num_vectors - 1) / 2.

    Args:
        num_vectors: how many vectors meet.

    Raises:
        ValueError: there are fewer than two vectors.
    """

    # Both are derived from num_vectors, so a checkpoint does not hold them.
    pairs: Tensor
    pair_of_cell: Tensor

    def __init__(self, num_vectors: int) -> None:
        super().__init__()
        check_at_least("PairwiseDots", "num_vectors", num_vectors, 2)
        lower, upper = torch.tril_indices(num_vectors, num_vectors, offset=-1)
        self.output_dim = lower.numel()
        pair_of_cell = torch.zeros(num_vectors, num_vectors, dtype=torch.long)
        pair_of_cell[lower, upper] = pair_of_cell[upper, lower] = torch.arange(self.output_dim)
        self.register_buffer("pairs", lower * num_vectors + upper, persistent=False)
        self.register_buffer("pair_of_cell", pair_of_cell.flatten(), persistent=False)

    def forward(self, vectors: Tensor) -> Tensor:
        """All pairs of dot products."""
        dots: Tensor = _PairwiseDots.apply(vectors, self.pairs, self.pair_of_cell)
        return dots


class _PairwiseDots(torch.autograd.Function):
    """Select the lower triangle of ``vectors @ vectors.T``.

    The gradient of the product is symmetric. Gathering both triangles from the gradient of the pairs makes the backward
    pass one gather and one batched product, where autograd scatters one triangle and multiplies twice.
    """

    @staticmethod
    def forward(vectors: Tensor, pairs: Tensor, pair_of_cell: Tensor) -> Tensor:
        return torch.bmm(vectors, vectors.transpose(1, 2)).flatten(1).index_select(1, pairs)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        vectors, _, pair_of_cell = inputs
        ctx.save_for_backward(vectors, pair_of_cell)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        vectors, pair_of_cell = ctx.saved_tensors
        num_vectors = vectors.shape[1]
        symmetric = grad.index_select(1, pair_of_cell).view(-1, num_vectors, num_vectors)
        symmetric.diagonal(dim1=1, dim2=2).zero_()
        # Under autocast the gradient is narrower than the vectors.
        return torch.bmm(symmetric, vectors.to(grad.dtype)).to(vectors.dtype), None, None
