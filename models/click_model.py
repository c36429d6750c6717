"""What all models of clicks have in common: their sizes, and what they are given."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.models.checks import check_sizes
from recsys.models.input_checks import check_floats, is_cast, is_program


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
        if is_program():
            return
        *per_feature, num_dense = self._sizes
        for name, values, sizes in (("embeddings", embeddings, per_feature), ("dense", dense, [num_dense])):
            check_floats(type(self).__name__, name, values, ("B",), sizes)
        widest = torch.promote_types(embeddings.dtype, dense.dtype)
        parameter = next(self.parameters())
        own = parameter.dtype
        if widest != own and (widest == torch.float64 or not is_cast(embeddings)):
            raise ValueError(
                f"{type(self).__name__}: embeddings and dense must be of its parameters' dtype, {own}, got "
                f"{embeddings.dtype} and {dense.dtype}; convert them."
            )
        if len(embeddings) != len(dense) or not embeddings.device == dense.device == parameter.device:
            raise ValueError(
                f"{type(self).__name__}: embeddings and dense must have equally many rows, on its parameters' "
                f"device '{parameter.device}', got "
                f"{len(embeddings)} on '{embeddings.device}' and {len(dense)} on '{dense.device}'."
            )
