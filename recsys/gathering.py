"""Rows of all processes, exactly, whatever number each process has."""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def gather_rows(values: Tensor) -> Tensor:
    """Values [N] of every process, one after the other, on the CPU; each process must call this."""
    if not (dist.is_available() and dist.is_initialized()):
        return values.cpu()
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    length = torch.tensor([len(values)], device=device)
    lengths = [torch.zeros_like(length) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, length)
    longest = int(torch.cat(lengths).max())
    # all_gather wants equal shapes, so every process sends as many values as the longest and the rest is cut off.
    padded = F.pad(values.to(device), (0, longest - len(values)))
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    return torch.cat([chunk[: int(n)] for chunk, n in zip(gathered, lengths, strict=True)]).cpu()
