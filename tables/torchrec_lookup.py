"""The lookup that shards its matrices over the processes of a group, on torchrec.

torchrec is imported when the first store is built, so that the rest of recsys.tables needs torch alone.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.base import PhysicalTable
from recsys.tables.gathering import gather
from recsys.tables.lookup import Lookup, Slots, Store
from recsys.tables.optimizers import SGD, Adagrad, DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.padding import KERNEL_ALIGNMENT, padded, padding_scale, unpadded_settings
from recsys.tables.sharding_plan import Placement, place_tables
from recsys.tables.torch_lookup import TorchStore


class TorchrecStore(Store):
    """Matrices of one optimiser, sharded: every id is a bag of its own, looked up where its row lives.

    Every process must call it in every step, with however few ids; gradients are divided by the number of processes,
    as DistributedDataParallel does, so that a mean over each process' samples trains like the mean over all.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        requests: Sequence[Slots],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
    ) -> None:
        super().__init__(tables, requests, optimizer, dtype, device)
        if not (dist.is_available() and dist.is_initialized()):
            raise ValueError("TorchrecLookup needs a process group; train with trainer.strategy: torchrec.")
        self.placements = place_tables(tables, dist.get_world_size(), padded)
        # Matrices whose width is padded have a store for each width.
        kernel_settings = unpadded_settings(optimizer, tables[0].row_dim)
        # In a tuple, so that rows are not parameters of the module: the backward pass is their optimizer.
        self._sharded = (_shard(self.tables, kernel_settings, self.placements, device),)
        for table in self.tables:
            self.load_tensor(table.name, "weight", table.initial_rows(dtype))

    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """See Store."""
        ids: dict[str, list[Tensor]] = {table.name: [] for table in self.tables}
        for asked, slots in zip(rows, self.requests, strict=True):
            for slot, name in enumerate(slots):
                ids[name].append(asked[slot])
        found = {name: list(vectors.split([len(part) for part in ids[name]])) for name, vectors in self._look_up(ids)}
        return [torch.cat([found[name].pop(0) for name in slots], dim=1) for slots in self.requests]

    def _look_up(self, ids: dict[str, list[Tensor]]) -> list[tuple[str, Tensor]]:
        """Vectors [N_t, row_dim] of all ids of each matrix; the shorter lists end in empty bags."""
        from torchrec.sparse.jagged_tensor import KeyedJaggedTensor

        joined = {name: torch.cat(parts).long() if parts else self._nothing() for name, parts in ids.items()}
        stride = _longest_anywhere(max(len(values) for values in joined.values()), self.device)
        steps = torch.arange(stride, device=self.device)
        lengths = torch.cat([(steps < len(values)).to(torch.int32) for values in joined.values()])
        bags = KeyedJaggedTensor(list(joined), torch.cat(list(joined.values())), lengths=lengths, stride=stride)
        answer = self._sharded[0](bags).wait().to_dict()
        return [(name, answer[name][: len(values), : self.row_dims[name]]) for name, values in joined.items()]

    def _nothing(self) -> Tensor:
        return torch.zeros(0, dtype=torch.int64, device=self.device)

    def tensors(self) -> dict[str, dict[str, Tensor]]:
        """Each matrix and its state, gathered from all processes, which must all call this."""
        found: dict[str, dict[str, Tensor]] = {}
        for table in self.tables:
            found[table.name] = {"weight": self._gathered(table, "weight", table.row_dim)}
            for kind, width in self.optimizer.state_dims(table.row_dim).items():
                found[table.name][kind] = self._gathered(table, kind, width)
        return found

    def _gathered(self, table: PhysicalTable, kind: str, width: int) -> Tensor:
        whole = torch.zeros(table.num_rows, width, dtype=self.dtype, device=self.device)
        for rows, values in self._parts(table.name, kind):
            part = values.reshape(len(values), -1)[:, :width]
            whole[rows] = part * self._scale(table, kind)
        dist.all_reduce(whole)
        return whole

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Tensor) -> None:
        """See Store; each process keeps its part."""
        physical = next(each for each in self.tables if each.name == table)
        for rows, mine in self._parts(table, kind):
            wide = mine.view(len(mine), -1)
            part = values[rows].to(wide) / self._scale(physical, kind)
            wide[:, : part.shape[1]].copy_(part)
            wide[:, part.shape[1] :].zero_()

    @torch.no_grad()
    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See Store; each process resets those it holds."""
        for kind in ("weight", *self.optimizer.state_dims(self.row_dims[table])):
            for held, mine in self._parts(table, kind):
                here = (rows >= held.start) & (rows < held.stop)
                own_rows = rows[here] - held.start
                if kind == "weight":
                    mine[own_rows, : self.row_dims[table]] = values[here]
                else:
                    mine[own_rows] = 0

    def _scale(self, table: PhysicalTable, kind: str) -> float:
        return 1.0 if kind == "weight" else padding_scale(self.optimizer, table.row_dim)

    def _parts(self, table: str, kind: str) -> list[tuple[slice, Tensor]]:
        """The rows that this process holds, and their values."""
        key, sharded = f"embedding_bags.{table}.weight", self._sharded[0]
        if kind == "weight":
            return _local_parts(sharded.state_dict()[key])
        # A process without rows of a matrix has no state of it.
        states = sharded.fused_optimizer.state_dict()["state"].get(key)
        return [] if states is None else _local_parts(states[f"{table}.momentum1"])

    def set_learning_rate(self, learning_rate: float) -> None:
        """See Store."""
        settings = unpadded_settings(replace(self.optimizer, learning_rate=learning_rate), self.tables[0].row_dim)
        optimizer = self._sharded[0].fused_optimizer
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate
        optimizer.step()

    def stored_bytes(self, table: PhysicalTable) -> int:
        """Bytes over all processes, with rows padded to the kernel's alignment."""
        return table.num_rows * padded(table.row_dim) * self.dtype.itemsize


class TorchrecLookup(Lookup):
    """Matrices sharded over the processes of the default group, whole or by rows.

    Rows with SGD, Adagrad or RowWiseAdagrad are sharded. Rows with dense gradients, and frozen ones, are replicated:
    DistributedDataParallel keeps them equal.
    """

    def store_key(
        self, table: PhysicalTable, optimizer: TableOptimizer, num_slots: int, dtype: torch.dtype
    ) -> Hashable:
        """A matrix that several slots read gets its own call, since all matrices of a call look up as many bags.

        So do padded widths, since each wants its own rate.

        Raises:
            ValueError: if torchrec has no such optimizer for sharded rows.
        """
        if type(optimizer) in (DenseGradient, Frozen):
            return (TorchStore, optimizer, table.row_dim)
        if type(optimizer) not in (SGD, Adagrad, RowWiseAdagrad) or optimizer.weight_decay or dtype != torch.float32:
            raise ValueError(
                f"physical table '{table.name}': sharded rows take SGD, Adagrad or RowWiseAdagrad in float32 without "
                f"weight_decay, got {optimizer} in {dtype}; choose one, or DenseGradient to replicate the rows."
            )
        padded_dim = table.row_dim if table.row_dim % KERNEL_ALIGNMENT else None
        return (TorchrecStore, optimizer, table.name if num_slots != 1 else None, padded_dim)

    def store_type(self, key: Hashable) -> type[Store]:
        """The first entry of the key."""
        assert isinstance(key, tuple)
        store: type[Store] = key[0]
        return store

    def of_all_processes(self, parts: Sequence[Tensor]) -> list[Tensor]:
        """See Lookup."""
        return gather(parts)


def _longest_anywhere(length: int, device: torch.device) -> int:
    """The largest of all processes' lengths: row-wise sharding wants as many bags on each."""
    longest = torch.tensor([length], device=device)
    dist.all_reduce(longest, op=dist.ReduceOp.MAX)
    return int(longest)


def _local_parts(tensor: Any) -> list[tuple[slice, Tensor]]:
    """The rows of a sharded tensor that this process holds, and their values."""
    if isinstance(tensor, Tensor) and not hasattr(tensor, "local_shards"):
        return [(slice(0, len(tensor)), tensor)] if dist.get_rank() == 0 else []
    parts = []
    for shard in tensor.local_shards():
        start = shard.metadata.shard_offsets[0]
        parts.append((slice(start, start + shard.metadata.shard_sizes[0]), shard.tensor.detach()))
    return parts


def _shard(
    tables: Sequence[PhysicalTable], optimizer: TableOptimizer, placements: dict[str, Placement], device: torch.device
) -> Any:
    """A ShardedEmbeddingBagCollection with one feature per matrix."""
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder
    from torchrec.distributed.shard import shard
    from torchrec.distributed.sharding_plan import construct_module_sharding_plan, row_wise, table_wise
    from torchrec.distributed.types import ShardingEnv
    from torchrec.modules.embedding_configs import PoolingType
    from torchrec.optim.rowwise_adagrad import RowWiseAdagrad as TorchrecRowWiseAdagrad

    configs = [
        EmbeddingBagConfig(
            name=table.name,
            embedding_dim=padded(table.row_dim),
            num_embeddings=table.num_rows,
            feature_names=[table.name],
            pooling=PoolingType.SUM,
        )
        for table in tables
    ]
    bags = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
    kinds = {SGD: torch.optim.SGD, Adagrad: torch.optim.Adagrad, RowWiseAdagrad: TorchrecRowWiseAdagrad}
    eps = {"eps": optimizer.eps} if isinstance(optimizer, Adagrad | RowWiseAdagrad) else {}
    _apply_optimizer_in_backward(kinds[type(optimizer)], bags.parameters(), {"lr": optimizer.learning_rate, **eps})
    sharder = EmbeddingBagCollectionSharder()
    sharder.sharding_types = lambda device_type: ["table_wise", "row_wise"]  # gloo runs both; the stock list hides one
    plan = construct_module_sharding_plan(
        bags,
        {
            name: row_wise() if placement.rank is None else table_wise(rank=placement.rank)
            for name, placement in placements.items()
        },
        sharder=sharder,
        world_size=dist.get_world_size(),
        local_size=dist.get_world_size(),
        device_type=device.type,
    )
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    return shard(bags, plan, env=env, device=device, sharder=sharder)
