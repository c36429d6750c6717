"""Integers of 16 bits as pairs of bytes: process groups, gloo's and NCCL's, have no word for the former."""

from __future__ import annotations

import torch
from torch import Tensor


def to_pairs(values: Tensor) -> Tensor:
    """int16 [..., N] -> uint8 [..., 2 N], the low byte of each before the high one."""
    return torch.stack([values & 255, values >> 8], dim=-1).to(torch.uint8).flatten(-2)


def from_pairs(pairs: Tensor) -> Tensor:
    """uint8 [..., 2] -> int32 [...], negative ones too."""
    low, high = pairs.unbind(-1)
    return low.int() + 256 * high.to(torch.int8).int()
