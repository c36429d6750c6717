"""Linear layers for concatenated inputs and for logits."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# 16 columns: a cache line of float32, and what matrix units want in bfloat16. A product whose output rows are not
# aligned (429 columns, say) takes up to half as long again in MKL.
COLUMN_ALIGNMENT = 16


def widened(values: Tensor) -> Tensor:
    """Values in float32 at least: where scores are made, bfloat16's 8 bits would tie most of them."""
    return values if values.dtype == torch.float64 else values.float()


def concat_padded(*blocks: Tensor) -> Tensor:
    """Concatenate blocks along their columns and pad with zero columns to a multiple of ``COLUMN_ALIGNMENT``.

    Shape:
        blocks, each [B, width] (width may be 0) -> [B, sum of the widths, rounded up].
    """
    filled = [block for block in blocks if block.shape[1] > 0]
    padding = -sum(block.shape[1] for block in filled) % COLUMN_ALIGNMENT
    if padding:
        filled.append(filled[0].new_zeros(filled[0].shape[0], padding))
    return filled[0] if len(filled) == 1 else torch.cat(filled, dim=1)


class PaddedLinear(nn.Linear):
    """``nn.Linear`` that also takes inputs with zero columns appended by ``concat_padded``.

    Weights start Xavier-normal and biases at 0.

    Shape:
        [B, in_features or more] -> [B, out_features]; the columns after in_features must be 0 and are ignored.

    Args:
        in_features: width of the input, zero columns not counted.
        out_features: width of the output, zero columns not counted.
        bias: add a learned bias.
        pad_output: append zero columns to the output, too.
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = True, pad_output: bool = False) -> None:
        super().__init__(in_features, out_features, bias=bias)
        self.output_padding = -out_features % COLUMN_ALIGNMENT if pad_output else 0

    def reset_parameters(self) -> None:
        """Draw the weights, standard deviation sqrt(2 / (in_features + out_features)), and zero the biases."""
        nn.init.xavier_normal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input: Tensor) -> Tensor:
        """Multiply by the weight, padded to the width of the input."""
        return self.multiplied(input, self.weight, self.bias)

    def multiplied(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        """The same with other values of weight and bias."""
        input_padding = max(input.shape[1] - self.in_features, 0)
        if input_padding or self.output_padding:
            weight = F.pad(weight, (0, input_padding, 0, self.output_padding))
        if bias is not None and self.output_padding:
            bias = F.pad(bias, (0, self.output_padding))
        return F.linear(input, weight, bias)


class LogitLinear(PaddedLinear):
    """The last layer of a model: one logit, in float32 at least whatever the precision around it.

    A logit rounded to bfloat16 has 8 bits, which ties scores and costs AUC.

    Shape:
        [B, in_features or more] -> [B].
    """

    def __init__(self, in_features: int, *, bias: bool = True) -> None:
        super().__init__(in_features, 1, bias=bias)

    def forward(self, input: Tensor) -> Tensor:
        """One logit for each row of the input."""
        weight, bias = widened(self.weight), None if self.bias is None else widened(self.bias)
        with torch.autocast(input.device.type, enabled=False):
            return self.multiplied(input.to(weight.dtype), weight, bias).squeeze(1)
