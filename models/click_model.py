"""What all models of clicks have in common: their sizes, and what they are given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.models.checks import check_sizes


class ClickModel(nn.Module):
    """Embeddings and dense values of a row make its logit; inputs of other sizes are refused, not broadcast.

    Args:
        num_features: features with an embedding, F.
        embedding_dim: width of an embedding, D.
        num_dense: dense features, may be 0.

    Raises:
        ValueError: a size is out of range.
    """

    def __init__(self, num_features: int, embedding_dim: int, num_dense: int) -> None:
        super().__init__()
        check_sizes(type(self).__name__, num_features, embedding_dim, num_dense)
        self._sizes = (num_features, embedding_dim, num_dense)

    def check(self, embeddings: Tensor, dense: Tensor) -> None:
        """Refuse inputs that are not [B, F, D] and [B, num_dense]; a compiled or traced program checks nothing.

        Raises:
            ValueError: naming the input, and the shape that it must have.
        """
        if torch.compiler.is_compiling() or torch._C._get_tracing_state() is not None:
            return
        *per_feature, num_dense = self._sizes
        for name, values, sizes in (("embeddings", embeddings, per_feature), ("dense", dense, [num_dense])):
            is_fine = isinstance(values, Tensor) and values.layout == torch.strided and values.is_floating_point()
            if not is_fine or list(values.shape[1:]) != sizes or values.dim() != len(sizes) + 1:
                got = f"{list(values.shape)} of {values.dtype}" if isinstance(values, Tensor) else type(values).__name__
                wanted = ", ".join(["B", *map(str, sizes)])
                raise ValueError(f"{type(self).__name__}: {name} must be floating-point numbers [{wanted}], got {got}.")
        widest = torch.promote_types(embeddings.dtype, dense.dtype)
        own = next(self.parameters()).dtype
        if widest == torch.float64 != own:
            raise ValueError(
                f"{type(self).__name__}: embeddings and dense must not be wider than its parameters, {own}, got "
                f"{embeddings.dtype} and {dense.dtype}; convert them."
            )
        if len(embeddings) != len(dense) or embeddings.device != dense.device:
            raise ValueError(
                f"{type(self).__name__}: embeddings and dense must have equally many rows on one device, got "
                f"{len(embeddings)} on '{embeddings.device}' and {len(dense)} on '{dense.device}'."
            )
