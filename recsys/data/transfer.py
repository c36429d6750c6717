"""Tensors on their way to a GPU, which nobody waits for."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from recsys.tables.placement import checked_device


def moved(tensors: Sequence[Tensor], device: torch.device | str, non_blocking: bool = False) -> list[Tensor]:
    """The same tensors on a device.

    Out of page-locked memory they are copied to a GPU on a stream of their own, beside what it computes; the current
    stream waits for them, the host does not.

    Args:
        tensors: of one batch.
        device: to move to.
        non_blocking: see torch.Tensor.to; for tensors that are not in page-locked memory.
    """
    device = checked_device("a batch", device)
    copied = [tensor for tensor in tensors if tensor.numel()]
    if device.type != "cuda" or not all(tensor.is_pinned() for tensor in copied):
        return [tensor.to(device, non_blocking=non_blocking) for tensor in tensors]
    current, beside = torch.cuda.current_stream(device), _copy_stream(device)
    with torch.cuda.stream(beside):
        found = [tensor.to(device, non_blocking=True) for tensor in tensors]
    current.wait_stream(beside)
    for tensor in found:
        tensor.record_stream(current)
    return found


@cache
def _copy_stream(device: torch.device) -> torch.cuda.Stream:
    return torch.cuda.Stream(device)
