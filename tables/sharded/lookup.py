"""The lookup that spreads its matrices over the processes of a group."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.base import Lookup
from recsys.tables.lookups.fbgemm import FbgemmLookup, FbgemmStore
from recsys.tables.lookups.numba import NumbaLookup
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.lookups.store import StoreFactory
from recsys.tables.lookups.torch import TorchLookup, TorchStore
from recsys.tables.physical import PhysicalTable, agreed_seed
from recsys.tables.sharded.first_process import has_group
from recsys.tables.sharded.gathering import gather
from recsys.tables.sharded.placements import DATA_PARALLEL
from recsys.tables.sharded.plan import Sharding
from recsys.tables.sharded.planner import plan_tables
from recsys.tables.sharded.replicated import ReplicatedStore
from recsys.tables.sharded.store import ShardedStore

LOCATIONS = {"fused_uvm": "MANAGED", "fused_uvm_caching": "MANAGED_CACHING"}
"""Torchrec's compute kernels, and FBGEMM's words for where the rows are."""


class TorchrecLookup(Lookup):
    """Matrices sharded over the processes of the default group: replicated, whole, by rows, by columns or both.

    Placements have torchrec's names and, where asked for, come from its planner. Rows are exchanged un-pooled and id by
    id, which torchrec's sharded bags do not do: their exchange costs the longest bag times all features.

    Rows with dense gradients, and frozen ones, are replicated: DistributedDataParallel keeps the former equal.

    Args:
        tables: the matrices by name.
        optimizers: the optimiser of every matrix, by name.
        reads: how many rows of each matrix a sample with one id of every feature reads.
        dtype: of the rows.
        device: of this process.
        seed: that rows are drawn from; None takes the first process' global seed.
        clip_rows: see TableCollection.
        sharding: what the user asks for.

    Raises:
        ValueError: if there is no process group, a matrix cannot be sharded as asked, or the rows do not fit.
    """

    trains_in_groups = True

    def __init__(
        self,
        tables: Mapping[str, PhysicalTable],
        optimizers: Mapping[str, TableOptimizer],
        reads: Mapping[str, int],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        seed: int | None = None,
        clip_rows: bool = False,
        sharding: Sharding | None = None,
    ) -> None:
        if not has_group():
            raise ValueError("TorchrecLookup needs a process group; train with trainer.strategy: torchrec.")
        self.sharding = sharding or Sharding()
        self.placements = plan_tables(list(tables.values()), reads, optimizers, self.sharding, torch.device(device))
        self._device = torch.device(device)
        super().__init__(tables, optimizers, reads, dtype, device, agreed_seed() if seed is None else seed, clip_rows)

    def store_key(self, table: PhysicalTable, optimizer: TableOptimizer, dtype: torch.dtype) -> Hashable:
        """One store per width, optimiser and way to keep rows; what is cut into pieces is so in all of a store."""
        if isinstance(optimizer, DenseGradient | Frozen):
            return (TorchStore, optimizer, table.row_dim)
        placement = self.placements[table.name]
        if placement.sharding_type == DATA_PARALLEL:
            return (ReplicatedStore, optimizer, table.row_dim)
        kernel = placement.compute_kernel or "fused"
        return (ShardedStore, optimizer, table.row_dim, placement.num_pieces, kernel, dtype)

    def store_factory(self, key: Hashable) -> StoreFactory:
        """See Lookup; sharded stores are told where their matrices go."""
        if not isinstance(key, tuple) or key[0] is not ShardedStore:
            return super().store_factory(key)
        _, optimizer, row_dim, num_pieces, kernel, dtype = key
        piece = PhysicalTable("local", 1, row_dim // num_pieces, 0.0)
        local: Any = _local_lookup(self._device).store_key(self, piece, optimizer, dtype)[0]  # type: ignore[index]
        if kernel in LOCATIONS:
            if local is not FbgemmStore:
                raise ValueError(f"compute_kernel {kernel} takes rows that FBGEMM's kernels update, got {optimizer}.")
            local = partial(FbgemmStore, location=LOCATIONS[kernel])
        return partial(ShardedStore, placements=self.placements, local=local)

    def agree_on(self, tensors: Sequence[Tensor]) -> None:
        """See Lookup."""
        for tensor in tensors:
            dist.broadcast(tensor.detach(), src=0)

    def of_all_processes(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """See Lookup."""
        return gather(parts)


def _local_lookup(device: torch.device) -> type[Lookup]:
    """What keeps the rows of one process."""
    if device.type == "cuda":
        return FbgemmLookup
    return NumbaLookup if find_spec("numba") else TorchLookup
