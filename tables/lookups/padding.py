"""Rows padded to what FBGEMM's kernels read, and settings that keep the padding out of the mathematics."""

from __future__ import annotations

from dataclasses import replace

from recsys.tables.lookups.optimizers import RowWiseAdagrad, TableOptimizer

KERNEL_ALIGNMENT = 4


def padded(row_dim: int) -> int:
    """The kernels read rows in groups of four values."""
    return -(-row_dim // KERNEL_ALIGNMENT) * KERNEL_ALIGNMENT


def padding_scale(optimizer: TableOptimizer, row_dim: int) -> float:
    """What a row-wise accumulator must be multiplied by to undo its mean over padding zeros."""
    return padded(row_dim) / row_dim if isinstance(optimizer, RowWiseAdagrad) else 1.0


def unpadded_settings(optimizer: TableOptimizer, row_dim: int) -> TableOptimizer:
    """Settings under which the padded kernel makes exactly the unpadded update: the root scales rate and eps alike."""
    if not isinstance(optimizer, RowWiseAdagrad):
        return optimizer
    root = padding_scale(optimizer, row_dim) ** -0.5
    return replace(optimizer, learning_rate=optimizer.learning_rate * root, eps=optimizer.eps * root)
