"""The lookup that spreads its matrices over the processes of a group."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from functools import partial

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.base import Lookup, Slots, StoreFactory
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.lookups.padding import KERNEL_ALIGNMENT
from recsys.tables.lookups.torch import TorchStore
from recsys.tables.sharded.first_process import has_group
from recsys.tables.sharded.gathering import gather
from recsys.tables.sharded.placements import DATA_PARALLEL
from recsys.tables.sharded.plan import Sharding
from recsys.tables.sharded.planner import plan_tables
from recsys.tables.sharded.replicated import ReplicatedStore
from recsys.tables.sharded.store import TorchrecStore


class TorchrecLookup(Lookup):
    """Matrices sharded over the processes of the default group: replicated, whole, by rows, by columns or both.

    Rows with dense gradients, and frozen ones, are replicated: DistributedDataParallel keeps them equal.

    Args:
        tables: the matrices by name.
        requests: for every request, the matrix each of its slots reads.
        optimizers: the optimiser of every matrix, by name.
        dtype: of the rows.
        device: of this process.
        sharding: what the user asks for.

    Raises:
        ValueError: if there is no process group, a matrix cannot be sharded as asked, or the rows do not fit.
    """

    def __init__(
        self,
        tables: Mapping[str, PhysicalTable],
        requests: Sequence[Slots],
        optimizers: Mapping[str, TableOptimizer],
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
        sharding: Sharding | None = None,
    ) -> None:
        if not has_group():
            raise ValueError("TorchrecLookup needs a process group; train with trainer.strategy: torchrec.")
        self.sharding = sharding or Sharding()
        self.placements = plan_tables(list(tables.values()), requests, optimizers, self.sharding, torch.device(device))
        # Counts of ids are numbers of the host: over gloo they wait for nothing that a GPU still has to do.
        self._host_group = dist.new_group(backend="gloo") if torch.device(device).type == "cuda" else None
        super().__init__(tables, requests, optimizers, dtype, device)

    def store_key(
        self, table: PhysicalTable, optimizer: TableOptimizer, num_slots: int, dtype: torch.dtype
    ) -> Hashable:
        """A matrix that several slots read gets its own call, since all matrices of a call look up as many bags.

        So do padded widths, since each wants its own rate.

        Raises:
            ValueError: if sharded rows are asked for in another dtype than float32.
        """
        if type(optimizer) in (DenseGradient, Frozen):
            return (TorchStore, optimizer, table.row_dim)
        if self.placements[table.name].sharding_type == DATA_PARALLEL:
            return (ReplicatedStore, optimizer, table.row_dim)
        if dtype != torch.float32:
            raise ValueError(f"physical table '{table.name}': sharded rows are float32, got {dtype}.")
        padded_dim = table.row_dim if table.row_dim % KERNEL_ALIGNMENT else None
        return (TorchrecStore, optimizer, table.name if num_slots != 1 else None, padded_dim)

    def store_factory(self, key: Hashable) -> StoreFactory:
        """See Lookup; sharded stores are told where their matrices go."""
        if isinstance(key, tuple) and key[0] is TorchrecStore:
            return partial(TorchrecStore, placements=self.placements, host_group=self._host_group)
        return super().store_factory(key)

    def of_all_processes(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """See Lookup."""
        return gather(parts)
