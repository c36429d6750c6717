"""Rows that are added up as they are read: K neighbours, those of one id, become one vector."""

from __future__ import annotations

from torch import Tensor


def added_up(rows: Tensor, num_summed: int) -> Tensor:
    """The sums of every K neighbours.

    Shape:
        rows [N * K, D] -> [N, D]
    """
    return rows if num_summed == 1 else rows.unflatten(0, (-1, num_summed)).sum(1)


def shared_out(grad: Tensor, num_summed: int) -> Tensor:
    """The gradients of rows from those of their sums.

    Shape:
        grad [N, D] -> [N * K, D]
    """
    return grad if num_summed == 1 else grad.repeat_interleave(num_summed, 0)
