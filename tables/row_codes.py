"""Rows as levels of 4 bits and a scale each, with a level for 0: two levels share a byte.

A byte is 16 (8 + a) + (8 - b) for levels a and b from -7 to 7, one counted up and the other down, so that bytes which
are drawn evenly stand for values of mean 0.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

_LARGEST, _MIDDLE = 7, 8
BYTE_MEAN, BYTE_STD = 127.5, math.sqrt((256**2 - 1) / 12)
LEVEL_STD = math.sqrt((16**2 - 1) / 12 + 0.25)
"""Of the levels of bytes that are drawn evenly."""
_PIECE_VALUES = 1 << 20
_SCALES = torch.linspace(1, 0.5, 21).tolist()
"""Parts of a row's largest value that levels may reach to; what is beyond becomes the largest level."""


def encoded(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Rows [R, W] -> codes [R, ceil(W / 2)] of uint8 and scales [R, 1] of bfloat16, of least squared error.

    Scales are searched for as in Guan et al., "Post-training 4-bit quantization on embedding tables" (2019,
    arXiv:1911.02079), without an offset, and levels are those of the scales as they are stored.
    """
    pieces = [_encoded(piece.float()) for piece in rows.split(max(1, _PIECE_VALUES // max(1, rows.shape[1])))]
    codes, scales = zip(*pieces, strict=True)
    return torch.cat(codes), torch.cat(scales)


def _encoded(rows: Tensor) -> tuple[Tensor, Tensor]:
    largest = rows.abs().amax(1, keepdim=True) / _LARGEST
    scale, least = largest.bfloat16(), rows.new_full((len(rows), 1), torch.inf)
    for part in _SCALES:
        tried = (largest * part).bfloat16()
        error = (_levels(rows, tried) * tried - rows).square().sum(1, keepdim=True)
        scale, least = torch.where(error < least, tried, scale), torch.minimum(error, least)
    levels = F.pad(_levels(rows, scale), (0, rows.shape[1] % 2))
    return (16 * (_MIDDLE + levels[:, 0::2]) + _MIDDLE - levels[:, 1::2]).to(torch.uint8), scale


def _levels(rows: Tensor, scale: Tensor) -> Tensor:
    """The nearest of -7 to 7, [R, W]."""
    smallest = torch.finfo(torch.bfloat16).tiny
    return (rows / scale.float().clamp(min=smallest)).round().clamp(-_LARGEST, _LARGEST)


def decoded(values: Tensor) -> Tensor:
    """What codes, read as numbers, are in units of their scale: [..., ceil(W / 2)] -> [..., W], maybe one more."""
    high = (values / 16).floor()
    return torch.stack([high - _MIDDLE, _MIDDLE - (values - 16 * high)], -1).flatten(-2)
