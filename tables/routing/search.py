"""Where values stand among sorted ones."""

from __future__ import annotations

import torch
from torch import Tensor


def lower_bound(ascending: Tensor, values: Tensor) -> Tensor:
    """How many of the ascending integers are below each value.

    While a program is exported to ONNX, which has no operator for it, by halving: as many reads as the number has
    binary digits.

    Shape:
        ascending [R], values [...] -> int64 [...]
    """
    # Asked first, since the question after it takes a second to import.
    is_traced = torch.compiler.is_exporting() or torch.jit.is_tracing()  # type: ignore[attr-defined]
    if is_traced and torch.onnx.is_in_onnx_export():
        return bisect(ascending, values)
    return torch.searchsorted(ascending, values)


def bisect(ascending: Tensor, values: Tensor) -> Tensor:
    """The same by comparisons and reads alone."""
    number = ascending.shape[0]
    found = torch.zeros_like(values)
    for digit in reversed(range(number.bit_length())):
        further = found + (1 << digit)
        is_below = ascending[further.clamp(max=number) - 1] < values
        found = torch.where((further <= number) & is_below, further, found)
    return found
