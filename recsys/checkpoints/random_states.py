"""Where the random numbers of every process stand: with them a resumed run drops out what it would have dropped out."""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.sharded.first_process import has_group

RANDOM_STATES = "random_states"
"""The entry of a checkpoint that holds them."""


def random_states(device: torch.device) -> dict[str, Tensor]:
    """The generators' states of all processes, which must all call this: "cpu.<rank>" and, on a GPU, "cuda.<rank>"."""
    mine = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        mine["cuda"] = torch.cuda.get_rng_state(device)
    everyone = [mine]
    if has_group():
        everyone = [mine] * dist.get_world_size()
        dist.all_gather_object(everyone, mine)
    return {f"{kind}.{rank}": state for rank, states in enumerate(everyone) for kind, state in states.items()}


def set_random_state(states: Mapping[str, Tensor] | None, device: torch.device) -> None:
    """Go on where a checkpoint's process of this rank stood; another number of processes starts afresh."""
    rank, num_ranks = (dist.get_rank(), dist.get_world_size()) if has_group() else (0, 1)
    if states is None or sum(name.startswith("cpu.") for name in states) != num_ranks:
        return
    torch.set_rng_state(states[f"cpu.{rank}"].cpu())
    if device.type == "cuda" and f"cuda.{rank}" in states:
        torch.cuda.set_rng_state(states[f"cuda.{rank}"].cpu(), device)
