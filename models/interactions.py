"""How feature vectors meet: dot products of all pairs, factorisation machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

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
    with torch.autocast(embeddings.device.type, enabled=False):
        made: tuple[Tensor, Tensor] = _FactorizationMachine.apply(
            embeddings, dense.to(dense_vectors.dtype), dense_vectors
        )
    return made[0]


class _FactorizationMachine(torch.autograd.Function):
    """The sums, and their gradient in one pass: that of a vector is the sum of all others.

    Autograd would square every value, and lay out a gradient of each of the three steps from there.
    """

    @staticmethod
    def forward(embeddings: Tensor, dense: Tensor, dense_vectors: Tensor) -> tuple[Tensor, Tensor]:
        total = embeddings.sum(dim=1) + dense @ dense_vectors
        squares = torch.linalg.vector_norm(embeddings.flatten(1), dim=1).square()
        squares = squares + dense.square() @ dense_vectors.square().sum(dim=1)
        return 0.5 * (total.square().sum(dim=1) - squares), total

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: tuple[Tensor, Tensor]) -> None:
        ctx.save_for_backward(*inputs, output[1])
        ctx.mark_non_differentiable(output[1])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        embeddings, dense, dense_vectors, total = ctx.saved_tensors
        weighted = grad.unsqueeze(1) * total
        to_embeddings = torch.addcmul(weighted.unsqueeze(1), embeddings, -grad.view(-1, 1, 1))
        to_vectors = dense.t() @ weighted - (dense.square().t() @ grad).unsqueeze(1) * dense_vectors
        to_dense = None
        if ctx.needs_input_grad[1]:
            own = dense * dense_vectors.square().sum(dim=1)
            to_dense = weighted @ dense_vectors.t() - grad.unsqueeze(1) * own
        return to_embeddings, to_dense, to_vectors


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
    pass one gather and one batched product, where autograd scatters one triangle and multiplies twice. A CPU gathers
    single values slowly and copies rows fast: there rows of the triangle are copied, and its gradient is multiplied by
    the vectors twice, as it is and transposed.
    """

    @staticmethod
    def forward(vectors: Tensor, pairs: Tensor, pair_of_cell: Tensor) -> Tensor:
        products = torch.bmm(vectors, vectors.transpose(1, 2))
        if not _copies_rows(products):
            return products.flatten(1).index_select(1, pairs)
        selected = products.new_empty(len(products), len(pairs))
        for row, part in enumerate(_triangle_rows(selected, vectors.shape[1]), start=1):
            part.copy_(products[:, row, :row])
        return selected

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor], output: Tensor) -> None:
        vectors, _, pair_of_cell = inputs
        ctx.save_for_backward(vectors, pair_of_cell)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        vectors, pair_of_cell = ctx.saved_tensors
        num_vectors = vectors.shape[1]
        # Under autocast the gradient is narrower than the vectors.
        narrow = vectors.to(grad.dtype)
        if not _copies_rows(grad):
            symmetric = grad.index_select(1, pair_of_cell).view(-1, num_vectors, num_vectors)
            symmetric.diagonal(dim1=1, dim2=2).zero_()
            return torch.bmm(symmetric, narrow).to(vectors.dtype), None, None
        lower = grad.new_zeros(len(grad), num_vectors, num_vectors)
        for row, part in enumerate(_triangle_rows(grad, num_vectors), start=1):
            lower[:, row, :row] = part
        of_earlier = torch.bmm(lower, narrow)
        return torch.baddbmm(of_earlier, lower.transpose(1, 2), narrow).to(vectors.dtype), None, None


def _copies_rows(values: Tensor) -> bool:
    """Whether rows are copied one after the other: a compiler, like a GPU, is better off with one gather."""
    return values.device.type == "cpu" and not torch.compiler.is_compiling() and not torch.is_grad_enabled()


def _triangle_rows(pairs: Tensor, num_vectors: int) -> Sequence[Tensor]:
    """The pairs [B, P] of each vector from the second on with those before it: [B, row]."""
    return pairs.split(list(range(1, num_vectors)), dim=1)
