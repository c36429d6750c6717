"""Matrices sharded over the processes of a group by torchrec, which is imported when the first store is built."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.base import Slots, Store
from recsys.tables.lookups.optimizers import SGD, Adagrad, RowWiseAdagrad, TableOptimizer
from recsys.tables.lookups.padding import padded, padding_scale, unpadded_settings
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.sharded.distribution import TorchrecDistribution
from recsys.tables.sharded.placements import Placement
from recsys.tables.sharded.shards import Part, local_parts, region, remote_device, sharded_tensor


class TorchrecStore(Store):
    """Matrices of one optimiser, sharded: every id is a bag of its own, looked up where its row lives.

    Every process must call it in every step, with however few ids; gradients are divided by the number of processes,
    as DistributedDataParallel does, so that a mean over each process' samples trains like the mean over all.

    Args:
        tables: the matrices.
        requests: for every request, the matrix each of its slots reads.
        optimizer: SGD, Adagrad or RowWiseAdagrad.
        dtype: float32.
        device: of this process.
        placements: of each matrix, by name; none is replicated.
        host_group: a group of all processes that reduces numbers of the host; None for the default one.
    """

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        requests: Sequence[Slots],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        placements: Mapping[str, Placement],
        host_group: Any = None,
    ) -> None:
        super().__init__(tables, requests, optimizer, dtype, device)
        self.placements = {table.name: placements[table.name] for table in tables}
        # Matrices whose width is padded have a store for each width.
        kernel_settings = unpadded_settings(optimizer, tables[0].row_dim)
        # In a tuple, so that rows are not parameters of the module: the backward pass is their optimizer.
        self._sharded = (_shard(self.tables, kernel_settings, self.placements, device),)
        self._host_group = host_group
        for table in self.tables:
            self._draw(table)

    @torch.no_grad()
    def _draw(self, table: PhysicalTable) -> None:
        """Fill in the rows of this process, block by block: the whole matrix may be larger than its memory."""
        for (first, last), columns, mine in self._parts(table.name, "weight"):
            for start, block in table.initial_blocks(first, last, self.dtype):
                part = block[:, slice(*columns)]
                mine[start - first : start - first + len(part), : part.shape[1]].copy_(part)
            mine[:, max(0, table.row_dim - columns[0]) :].zero_()
        self._forget_cached_rows()

    def _forget_cached_rows(self) -> None:
        """After rows were written where they are kept: drop fused_uvm_caching's copies, as torchrec's loading does.

        Reading the rows, to write them, has flushed newer copies before.
        """
        for lookup in self._sharded[0]._lookups:
            lookup.purge()

    def forward(self, rows: Sequence[Tensor]) -> list[Tensor]:
        """See Store."""
        distribution = self.start(rows)
        distribution.advance()
        distribution.finish()
        return self.look_up(distribution)

    def start(self, rows: Sequence[Tensor]) -> TorchrecDistribution:
        """See Store."""
        ids: dict[str, list[Tensor]] = {table.name: [] for table in self.tables}
        for asked, slots in zip(rows, self.requests, strict=True):
            for slot, name in enumerate(slots):
                ids[name].append(asked[slot])
        return TorchrecDistribution(self._sharded[0], ids, self.device, self._host_group)

    def look_up(self, distribution: InputDistribution) -> list[Tensor]:
        """See Store."""
        assert isinstance(distribution, TorchrecDistribution)
        pieces = {
            name: list(vectors[:, : self.row_dims[name]].split(counts))
            for name, (vectors, counts) in distribution.look_up().items()
        }
        return [torch.cat([pieces[name].pop(0) for name in slots], dim=1) for slots in self.requests]

    def tensors(self, table: str) -> dict[str, Tensor]:
        """A matrix and its state, gathered from all processes, which must all call this."""
        return {kind: self._gathered(table, kind, width) for kind, width in self.widths(table).items()}

    def saved_tensors(self, table: str) -> dict[str, Any]:
        """A matrix and its state as ShardedTensors of the unpadded shapes: nothing leaves its process."""
        physical = self._physical(table)
        return {
            kind: sharded_tensor(
                self.placements[table],
                physical.num_rows,
                width,
                self._parts(table, kind, self._scale(physical, kind)),
                self.dtype,
                self.device,
            )
            for kind, width in self.widths(table).items()
        }

    def _physical(self, table: str) -> PhysicalTable:
        return next(each for each in self.tables if each.name == table)

    def _gathered(self, table: str, kind: str, width: int) -> Tensor:
        physical = self._physical(table)
        whole = torch.zeros(physical.num_rows, width, dtype=self.dtype, device=self.device)
        for rows, columns, values in self._parts(table, kind, self._scale(physical, kind)):
            place = whole[slice(*rows), slice(*columns)]
            place.copy_(values[:, : place.shape[1]])
        dist.all_reduce(whole)
        return whole

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Any) -> None:
        """See Store; each process takes its part of a whole tensor, or its own shards of a ShardedTensor."""
        scale = self._scale(self._physical(table), kind)
        for rows, columns, mine in self._parts(table, kind):
            part = region(values, rows, columns)
            mine[:, : part.shape[1]].copy_(part / scale if scale != 1 else part)
            mine[:, part.shape[1] :].zero_()
        if kind == "weight":
            self._forget_cached_rows()

    @torch.no_grad()
    def reset_rows(self, table: str, rows: Tensor, values: Tensor) -> None:
        """See Store; each process resets what it holds of them, columns of padding stay zero."""
        for kind in self.widths(table):
            for held, columns, mine in self._parts(table, kind):
                here = (rows >= held[0]) & (rows < held[1])
                own_rows = rows[here] - held[0]
                if kind == "weight":
                    part = values[here, columns[0] : columns[1]]
                    mine[own_rows, : part.shape[1]] = part.to(mine)
                else:
                    mine[own_rows] = 0
        self._forget_cached_rows()

    def _scale(self, table: PhysicalTable, kind: str) -> float:
        return 1.0 if kind == "weight" else padding_scale(self.optimizer, table.row_dim)

    def _parts(self, table: str, kind: str, scale: float = 1.0) -> list[Part]:
        """What this process holds of a matrix or of its state; copies where a scale is asked for."""
        key, sharded = f"embedding_bags.{table}.weight", self._sharded[0]
        if kind == "weight":
            found = sharded.state_dict()[key]
        else:
            # A process without rows of a matrix has no state of it.
            states = sharded.fused_optimizer.state_dict()["state"].get(key)
            found = None if states is None else states[f"{table}.momentum1"]
        if found is None or dist.get_rank() not in self.placements[table].ranks:
            return []
        parts = list(local_parts(found))
        return parts if scale == 1 else [(rows, columns, values * scale) for rows, columns, values in parts]

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


def bag_collection(tables: Sequence[PhysicalTable], optimizers: Mapping[str, TableOptimizer]) -> Any:
    """An EmbeddingBagCollection without memory, with one feature per matrix, that steps in the backward pass."""
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
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
    for name, bag in bags.embedding_bags.items():
        optimizer = optimizers[name]
        eps = {"eps": optimizer.eps} if isinstance(optimizer, Adagrad | RowWiseAdagrad) else {}
        settings = {"lr": optimizer.learning_rate, **eps}
        _apply_optimizer_in_backward(kinds[type(optimizer)], bag.parameters(), settings)
    return bags


def bag_sharder(sharding_types: Sequence[str]) -> Any:
    """Torchrec's sharder, allowed these types on every device: gloo runs some that the stock list leaves out."""
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder

    sharder = EmbeddingBagCollectionSharder()
    sharder.sharding_types = lambda device_type: list(sharding_types)
    return sharder


def _shard(
    tables: Sequence[PhysicalTable],
    optimizer: TableOptimizer,
    placements: Mapping[str, Placement],
    device: torch.device,
) -> Any:
    """A ShardedEmbeddingBagCollection with one feature per matrix."""
    from torchrec.distributed.shard import shard
    from torchrec.distributed.types import EmbeddingModuleShardingPlan, ShardingEnv

    bags = bag_collection(tables, {table.name: optimizer for table in tables})
    sharder = bag_sharder(sorted({placement.sharding_type for placement in placements.values()}))
    plan = EmbeddingModuleShardingPlan()
    for name, placement in placements.items():
        plan[name] = _parameter_sharding(placement, device)
    env = ShardingEnv.from_process_group(dist.group.WORLD)
    return shard(bags, plan, env=env, device=device, sharder=sharder)


def _parameter_sharding(placement: Placement, device: torch.device) -> Any:
    """A placement in torchrec's own terms."""
    from torch.distributed._shard.metadata import ShardMetadata
    from torch.distributed._shard.sharding_spec.api import EnumerableShardingSpec
    from torchrec.distributed.types import ParameterSharding

    shards = [
        ShardMetadata(
            [shard.rows[0], shard.columns[0]],
            [shard.rows[1] - shard.rows[0], shard.columns[1] - shard.columns[0]],
            remote_device(shard.rank, device),
        )
        for shard in placement.shards
    ]
    return ParameterSharding(
        sharding_spec=EnumerableShardingSpec(shards),
        sharding_type=placement.sharding_type,
        compute_kernel=placement.compute_kernel or "fused",
        ranks=[shard.rank for shard in placement.shards],
    )
