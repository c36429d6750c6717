"""Rows of all processes, exactly, whatever number each process has."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.sharded.first_process import has_group
from recsys.tables.sharded.gathering import gather


def gather_rows(values: Tensor) -> Tensor:
    """Values [N] of every process, one after the other, on the CPU; each process must call this."""
    if not has_group():
        return values.cpu()
    device = torch.device("cuda" if dist.get_backend() == "nccl" else "cpu")
    (gathered,) = gather([values.to(device)])
    return gathered.cpu()
