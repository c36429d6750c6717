"""How many scores reach each of many thresholds, counted in one pass."""

from __future__ import annotations

import torch
from torch import Tensor

_SHIFT = 14
_BINS = (0x7F800000 >> _SHIFT) + 1
_PIECE = 1 << 24


def counts_above(scores: Tensor) -> Tensor:
    """How many scores reach the threshold of each bin, [bins]; the last is infinity, which none reaches.

    Bits of float32 numbers at least 0 are in the order of the numbers: a bin has those that agree in the upper bits,
    and is a fifth of a percent wide.

    Args:
        scores: float32, at least 0 and finite, of any shape.
    """
    counts = torch.zeros(_BINS, dtype=torch.int64)
    for piece in scores.reshape(-1).split(_PIECE):
        counts += torch.bincount(piece.view(torch.int32) >> _SHIFT, minlength=_BINS)
    return counts.flip(0).cumsum(0).flip(0)


def threshold_of(place: int) -> float:
    """The lowest number of a bin."""
    return float(torch.tensor(place << _SHIFT, dtype=torch.int32).view(torch.float32))


def lowest_place(num_bytes: Tensor, budget_bytes: int) -> int | None:
    """The lowest bin that fits; None if there is none.

    Args:
        num_bytes: [bins] that what reaches each bin takes.
        budget_bytes: that may be taken.
    """
    fits = (num_bytes <= budget_bytes).nonzero()
    return int(fits[0]) if len(fits) else None
