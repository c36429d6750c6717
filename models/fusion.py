"""Several vectors of an item made one: [N, F, D] -> [N, D]."""

from __future__ import annotations

from torch import Tensor, nn

from recsys.argument_types import typed
from recsys.models.checks import check_sizes
from recsys.models.input_checks import check_fits_parameters, check_floats


class SumFusion(nn.Module):
    """The sum of the vectors, as HSTU-BLaIR adds an item's text to its id.

    Args:
        num_features: F.
        embedding_dim: D.
    """

    @typed
    def __init__(self, num_features: int, embedding_dim: int) -> None:
        super().__init__()
        check_sizes("SumFusion", num_features, embedding_dim, 0)
        self._sizes = (num_features, embedding_dim)

    def forward(self, vectors: Tensor) -> Tensor:
        """[N, F, D] -> [N, D]."""
        check_floats("SumFusion", "vectors", vectors, ("N",), self._sizes)
        return vectors.sum(1)


class ConcatFusion(nn.Module):
    """The vectors side by side, brought to width D by one linear layer without bias, as M2TRec describes an item.

    Args:
        num_features: F.
        embedding_dim: D.
    """

    @typed
    def __init__(self, num_features: int, embedding_dim: int) -> None:
        super().__init__()
        check_sizes("ConcatFusion", num_features, embedding_dim, 0)
        self._sizes = (num_features, embedding_dim)
        self.output = nn.Linear(num_features * embedding_dim, embedding_dim, bias=False)
        # Keeps the standard deviation of the vectors.
        nn.init.normal_(self.output.weight, std=(num_features * embedding_dim) ** -0.5)

    def forward(self, vectors: Tensor) -> Tensor:
        """[N, F, D] -> [N, D]."""
        check_floats("ConcatFusion", "vectors", vectors, ("N",), self._sizes)
        check_fits_parameters(self, "vectors", vectors)
        output: Tensor = self.output(vectors.flatten(1))
        return output
