"""What a device can do at most, measured, and what a step would take at that rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter

import torch
from torch import Tensor


def synchronize(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


@dataclass(frozen=True)
class Rates:
    """Bytes copied (read and written) a second, and flops of bf16 products a second; 0 where not measured."""

    bytes_per_second: float = 0.0
    flops_per_second: float = 0.0

    def in_words(self) -> str:
        """For a table."""
        return f"{self.bytes_per_second / 1e9:,.0f} GB/s copied, {self.flops_per_second / 1e12:,.1f} TFLOP/s in bf16"

    def seconds(self, num_bytes: float, num_flops: float) -> float:
        """Of a step, one after the other; 0 where not measured."""
        if not self.bytes_per_second or not self.flops_per_second:
            return 0.0
        return num_bytes / self.bytes_per_second + num_flops / self.flops_per_second


def measured_rates(device: torch.device, quick: bool) -> Rates:
    """Of a copy of 1 GiB, and of square products."""
    count, width = (1 << 22, 512) if quick else (1 << 28, 8192)
    source = torch.empty(count, device=device)
    target = torch.empty_like(source)
    left, right = (torch.randn(width, width, device=device).to(torch.bfloat16) for _ in range(2))
    copied = _seconds(lambda: target.copy_(source), device)
    multiplied = _seconds(lambda: left @ right, device)
    return Rates(2 * source.nbytes / copied, 2 * width**3 / multiplied)


def _seconds(work: object, device: torch.device) -> float:
    found = []
    for _ in range(12):
        synchronize(device)
        start = perf_counter()
        work()  # type: ignore[operator]
        synchronize(device)
        found.append(perf_counter() - start)
    return median(found[2:])


def row_bytes(ids: Sequence[Tensor], embedding_dim: int) -> float:
    """Bytes of float32 rows that a step must move: read, handed out, their gradients read, distinct rows stepped.

    Args:
        ids: [F, B] of some batches.
        embedding_dim: D.
    """
    handed = sum(each.numel() for each in ids) / len(ids)
    distinct = sum(column.unique().numel() for each in ids for column in each) / len(ids)
    return 4 * embedding_dim * (2 * distinct + 2 * handed + distinct)


def product_flops(batch_size: int, stacks: Sequence[Sequence[int]], num_vectors: int, embedding_dim: int) -> float:
    """Of the products of MLPs of these widths, and of the dots of all pairs of vectors, forward and backward."""
    layers = sum(i * o for widths in stacks for i, o in pairwise(widths))
    return 6.0 * batch_size * (layers + num_vectors**2 * embedding_dim)
