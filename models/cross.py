"""The cross network of DCN-V2."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recsys.models.checks import check_at_least, check_depth
from recsys.models.linear import PaddedLinear, concat_padded


class CrossNetwork(nn.Module):
    """Layers x' = x0 * (W x + b) + x (Wang et al., 2021, arXiv:2008.13535, equation 1).

    Weights start Xavier-normal and biases at 0.

    Shape:
        x0 [B, input_dim] -> [B, input_dim]; both padded with zero columns as by ``concat_padded``.

    Args:
        input_dim: width of the input.
        num_layers: cross layers.
        low_rank: rank of W = U V^T; None for a full matrix.

    Raises:
        ValueError: a count or the rank is below 1.
    """

    def __init__(self, input_dim: int, num_layers: int, *, low_rank: int | None = None) -> None:
        super().__init__()
        check_at_least("CrossNetwork", "input_dim", input_dim, 1)
        check_depth("CrossNetwork", "num_cross_layers", num_layers)
        if low_rank is not None:
            check_at_least("CrossNetwork", "low_rank", low_rank, 1)
        self.layers = nn.ModuleList(_affine(input_dim, low_rank) for _ in range(num_layers))

    def forward(self, x0: Tensor) -> Tensor:
        """Cross the input with itself, once a layer."""
        x = x0 = concat_padded(x0)
        for layer in self.layers:
            x = torch.addcmul(x, x0, layer(x).to(x.dtype))
        return x


def _affine(dim: int, low_rank: int | None) -> nn.Module:
    """W x + b with a full or a factorised W."""
    if low_rank is None:
        return PaddedLinear(dim, dim, pad_output=True)
    return nn.Sequential(PaddedLinear(dim, low_rank, bias=False), PaddedLinear(low_rank, dim, pad_output=True))
