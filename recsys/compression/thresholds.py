"""One threshold for the scores of all tables, as low as a budget allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

_LARGEST = 0x7F800000
"""Bits of infinity: those of float32 numbers at least 0 are in the order of the numbers."""


def lowest_threshold(scores: Sequence[Tensor], count_bytes: Callable[[float], int], budget_bytes: int) -> float | None:
    """The lowest threshold at which what scores at least so much fits; None if not even nothing does.

    Args:
        scores: float32, at least 0.
        count_bytes: bytes of what scores at least a threshold; must fall, or nearly, as the threshold grows.
        budget_bytes: that may be taken.
    """
    if count_bytes(0.0) <= budget_bytes:
        return 0.0
    highest = max((float(each.max()) for each in scores if each.numel()), default=0.0)
    low, high = 0, min(_bits(highest) + 1, _LARGEST)
    if count_bytes(_number(high)) > budget_bytes:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if count_bytes(_number(middle)) <= budget_bytes else (middle, high)
    return _number(high)


def _bits(number: float) -> int:
    return int(torch.tensor(number, dtype=torch.float32).view(torch.int32))


def _number(bits: int) -> float:
    return float(torch.tensor(bits, dtype=torch.int32).view(torch.float32))
