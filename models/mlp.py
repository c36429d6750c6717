"""Multi-layer perceptrons."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models.checks import check_activation, check_at_least, check_dims, check_dropout
from recsys.models.linear import LogitLinear, PaddedLinear


class BatchNorm1d(nn.BatchNorm1d):
    """Batch norm that takes a training batch of one row, or of none, which has no variance, as evaluation would.

    The last batch of an epoch may be that small; nobody wants to lose the epoch to it.

    Shape:
        [B, C] -> [B, C]
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalise over the batch while training, if it has two rows or more."""
        if self.training and len(input) < 2:
            return F.batch_norm(input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)
        return super().forward(input)


class MLP(nn.Module):
    """Hidden layers, each: linear, batch norm (optional), activation, dropout.

    Shape:
        [B, input_dim, or more when padded by ``concat_padded``] -> [B, output_dim].

    Args:
        input_dim: width of the input.
        hidden_dims: width of each hidden layer; empty passes the input through.
        activation: class of the activation, built without arguments.
        dropout: probability of zeroing a hidden value, in [0, 1).
        batch_norm: normalise each hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a width is below 1, or dropout is outside [0, 1).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        *,
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        check_at_least("MLP", "input_dim", input_dim, 1)
        check_dims("MLP", "hidden_dims", hidden_dims)
        check_dropout("MLP", dropout)
        check_activation("MLP", activation)
        dims = [input_dim, *hidden_dims]
        self.output_dim = dims[-1]
        self.layers = nn.Sequential()
        for width, next_width in pairwise(dims):
            self.layers.append(PaddedLinear(width, next_width, bias=not batch_norm))
            if batch_norm:
                self.layers.append(BatchNorm1d(next_width))
            self.layers.append(activation())
            if dropout > 0.0:
                self.layers.append(nn.Dropout(dropout))

    def forward(self, input: Tensor) -> Tensor:
        """Hidden values of the last layer."""
        output: Tensor = self.layers(input)
        return output


class LogitMLP(nn.Module):
    """An ``MLP`` followed by one linear output.

    Shape:
        [B, input_dim or more] -> logits [B], in the precision of the weights.

    Args:
        input_dim: width of the input.
        hidden_dims: width of each hidden layer; empty makes the logit linear in the input.
        activation: class of the activation, built without arguments.
        dropout: probability of zeroing a hidden value, in [0, 1).
        batch_norm: normalise each hidden layer over the batch, one of a single row by the running statistics.

    Raises:
        ValueError: a width is below 1, or dropout is outside [0, 1).
    """

    def __init__(
        self,
        input_dim: int,
        hidden_dims: Sequence[int],
        *,
        activation: type[nn.Module] = nn.ReLU,
        dropout: float = 0.0,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        self.hidden = MLP(input_dim, hidden_dims, activation=activation, dropout=dropout, batch_norm=batch_norm)
        self.output = LogitLinear(self.hidden.output_dim)

    def forward(self, input: Tensor) -> Tensor:
        """One logit for each row."""
        logits: Tensor = self.output(self.hidden(input))
        return logits
