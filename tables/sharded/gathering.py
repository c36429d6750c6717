"""Values of all processes, exactly, whatever number each process has."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def gather(parts: Sequence[Tensor]) -> list[Tensor]:
    """For each part [N], that of every process, one after the other; each process must call this with as many.

    The parts must have one dtype and be where the process group can read them. Two collectives, whatever the number of
    parts.
    """
    mine = torch.tensor([len(part) for part in parts], device=parts[0].device)
    lengths = [torch.zeros_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(lengths, mine)
    counts = [each.tolist() for each in lengths]
    longest = max(sum(count) for count in counts)
    joined = torch.cat(list(parts))
    # all_gather wants equal shapes, so every process sends as many values as the longest and the rest is cut off.
    padded = F.pad(joined, (0, longest - len(joined)))
    gathered = [torch.empty_like(padded) for _ in lengths]
    dist.all_gather(gathered, padded)
    by_process = [chunk[: sum(count)].split(count) for chunk, count in zip(gathered, counts, strict=True)]
    return [torch.cat(pieces) for pieces in zip(*by_process, strict=True)]
