"""The plan of a process group: our own balance or torchrec's planner, checked against what the machine can do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
import torch.distributed as dist

from recsys.tables.lookups.fbgemm import KERNEL_ALIGNMENT
from recsys.tables.lookups.optimizers import SGD, Adagrad, Adam, RowWiseAdagrad, TableOptimizer
from recsys.tables.physical import PhysicalTable
from recsys.tables.sharded.first_process import first_decides
from recsys.tables.sharded.placements import (
    COLUMN_WISE,
    DATA_PARALLEL,
    GRID_SHARD,
    ROW_WISE,
    TABLE_WISE,
    Placement,
    Shard,
    cut_columns,
    replicated,
)
from recsys.tables.sharded.plan import Sharding, bytes_on, place_tables, sharding_type_of, wish_of

_NO_LIMIT = 2**50
"""Bytes that no process has; torchrec's planner takes a number where there is no limit."""


def plan_tables(
    tables: Sequence[PhysicalTable],
    reads: Mapping[str, int],
    optimizers: Mapping[str, TableOptimizer],
    sharding: Sharding,
    device: torch.device,
) -> dict[str, Placement]:
    """Where every matrix goes: the first process of the default group decides for all, which must call together.

    Hosts may differ in memory, so the smallest `memory_bytes` of all processes holds everywhere.

    Args:
        tables: the matrices.
        reads: how many rows of each a sample with one id of every feature reads.
        optimizers: of each matrix, by name.
        sharding: what the user asks for.
        device: of this process.

    Raises:
        ValueError: on every process, if what is asked for cannot be, or one would hold more than `memory_bytes`.
        RuntimeError: on the other processes, if the first one fails otherwise.
    """
    sharding = replace(sharding, memory_bytes=_least_anywhere(sharding.memory_bytes, device))

    def decide() -> dict[str, Placement]:
        sharding.check_names([table.name for table in tables])
        _check_kernels(tables, optimizers, sharding, device)
        num_ranks = dist.get_world_size()
        if sharding.planner:
            placements = _planned(tables, reads, optimizers, sharding, device)
        else:
            placements = place_tables(tables, optimizers, num_ranks, sharding)
        _check_memory(tables, optimizers, placements, sharding, num_ranks)
        return placements

    return first_decides(decide)


def _least_anywhere(memory_bytes: int | None, device: torch.device) -> int | None:
    """The smallest limit of all processes; None if none has one."""
    least = torch.tensor([_NO_LIMIT if memory_bytes is None else memory_bytes], device=device)
    dist.all_reduce(least, op=dist.ReduceOp.MIN)
    return None if int(least) >= _NO_LIMIT else int(least)


def _check_kernels(
    tables: Sequence[PhysicalTable],
    optimizers: Mapping[str, TableOptimizer],
    sharding: Sharding,
    device: torch.device,
) -> None:
    for table in tables:
        kernel = wish_of(table, optimizers[table.name], sharding).compute_kernel
        if kernel not in (None, "fused") and device.type != "cuda":
            raise ValueError(
                f"physical table '{table.name}': compute_kernel {kernel} keeps rows in host memory for a GPU; on "
                f"{device.type} use fused."
            )


def _check_memory(
    tables: Sequence[PhysicalTable],
    optimizers: Mapping[str, TableOptimizer],
    placements: Mapping[str, Placement],
    sharding: Sharding,
    num_ranks: int,
) -> None:
    if sharding.memory_bytes is None:
        return
    on_device = [table for table in tables if "uvm" not in (placements[table.name].compute_kernel or "")]
    for rank in range(num_ranks):
        needed = sum(bytes_on(table, optimizers[table.name], placements[table.name], rank) for table in on_device)
        if needed > sharding.memory_bytes:
            raise ValueError(
                f"process {rank} would hold {needed:,} bytes of rows and optimiser state, more than "
                f"memory_bytes={sharding.memory_bytes:,}; use more processes, a smaller table, or row_wise sharding."
            )


def _planned(
    tables: Sequence[PhysicalTable],
    reads: Mapping[str, int],
    optimizers: Mapping[str, TableOptimizer],
    sharding: Sharding,
    device: torch.device,
) -> dict[str, Placement]:
    """What torchrec's planner says of all matrices that are not replicated."""
    num_ranks = dist.get_world_size()
    types = {table.name: sharding_type_of(table, optimizers[table.name], sharding, num_ranks) for table in tables}
    spread = [table for table in tables if types[table.name] != DATA_PARALLEL]
    together = [table for table in tables if types[table.name] == DATA_PARALLEL]
    found = {
        table.name: Placement(DATA_PARALLEL, replicated(table.num_rows, table.row_dim, num_ranks)) for table in together
    }
    if spread:
        taken = sum(bytes_on(table, optimizers[table.name], found[table.name], 0) for table in together)
        left = max(0, (sharding.memory_bytes or _NO_LIMIT) - taken)
        found |= _torchrec_plan(spread, reads, optimizers, types, replace(sharding, memory_bytes=max(1, left)), device)
    return {table.name: found[table.name] for table in tables}


def _allowed(table: PhysicalTable, asked: str | None, optimizer: TableOptimizer) -> list[str]:
    """The types among which the planner may choose for a matrix."""
    if asked is not None:
        return [asked]
    cuts_columns = table.row_dim % KERNEL_ALIGNMENT == 0 and not isinstance(optimizer, RowWiseAdagrad)
    return [TABLE_WISE, ROW_WISE, COLUMN_WISE] if cuts_columns else [TABLE_WISE, ROW_WISE]


def _torchrec_plan(
    tables: Sequence[PhysicalTable],
    reads: Mapping[str, int],
    optimizers: Mapping[str, TableOptimizer],
    asked: Mapping[str, str | None],
    sharding: Sharding,
    device: torch.device,
) -> dict[str, Placement]:
    from torchrec.distributed.planner import EmbeddingShardingPlanner, Topology
    from torchrec.distributed.planner.types import ParameterConstraints, PlannerError

    num_ranks = dist.get_world_size()
    per_host = sharding.ranks_per_host or num_ranks
    allowed = {table.name: _allowed(table, asked[table.name], optimizers[table.name]) for table in tables}
    # Rows in host memory are not counted, so beside a GPU there is no limit to them.
    topology = Topology(
        world_size=num_ranks,
        compute_device=device.type,
        local_world_size=per_host,
        hbm_cap=sharding.memory_bytes,
        ddr_cap=_NO_LIMIT if device.type == "cuda" else sharding.memory_bytes,
    )
    constraints = {}
    for table in tables:
        most = num_ranks // per_host if asked[table.name] == GRID_SHARD else num_ranks
        pieces = cut_columns(table.row_dim, most)
        constraints[table.name] = ParameterConstraints(
            sharding_types=allowed[table.name],
            compute_kernels=[sharding.wish(table.name).compute_kernel or "fused"],
            min_partition=pieces[0][1],
            pooling_factors=[float(max(1, reads[table.name]))],
        )
    types = sorted({kind for kinds in allowed.values() for kind in kinds})
    planner = EmbeddingShardingPlanner(topology=topology, constraints=constraints)
    try:
        plan = planner.plan(_bag_collection(tables, optimizers), [_bag_sharder(types)])
    except PlannerError as error:
        raise ValueError(
            f"torchrec's planner finds no plan of {len(tables)} matrices for {num_ranks} processes with "
            f"{sharding.memory_bytes:,} bytes left in each ({error.error_type.value.replace('_', ' ')}); use more "
            "processes, a smaller table, other sharding types, or planner: false."
        ) from error
    widths = {table.name: table.row_dim for table in tables}
    return {name: _placement(parameter, widths[name]) for name, parameter in plan.plan[""].items()}


def _placement(parameter: Any, row_dim: int) -> Placement:
    """One of torchrec's parameter shardings in our terms, its padding cut off."""
    shards = tuple(
        Shard(
            shard.placement.rank(),
            (shard.shard_offsets[0], shard.shard_offsets[0] + shard.shard_sizes[0]),
            (shard.shard_offsets[1], min(row_dim, shard.shard_offsets[1] + shard.shard_sizes[1])),
        )
        for shard in parameter.sharding_spec.shards
    )
    return Placement(parameter.sharding_type, shards, parameter.compute_kernel)


def _bag_collection(tables: Sequence[PhysicalTable], optimizers: Mapping[str, TableOptimizer]) -> Any:
    """The matrices as torchrec's planner knows them: without memory, with the state of their optimisers."""
    from torch.distributed.optim.apply_optimizer_in_backward import _apply_optimizer_in_backward
    from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
    from torchrec.modules.embedding_configs import PoolingType
    from torchrec.optim.rowwise_adagrad import RowWiseAdagrad as TorchrecRowWiseAdagrad

    configs = [
        EmbeddingBagConfig(
            name=table.name,
            embedding_dim=_padded(table.row_dim),
            num_embeddings=table.num_rows,
            feature_names=[table.name],
            pooling=PoolingType.SUM,
        )
        for table in tables
    ]
    bags = EmbeddingBagCollection(tables=configs, device=torch.device("meta"))
    kinds = {
        SGD: torch.optim.SGD,
        Adagrad: torch.optim.Adagrad,
        RowWiseAdagrad: TorchrecRowWiseAdagrad,
        Adam: torch.optim.Adam,
    }
    for name, bag in bags.embedding_bags.items():
        _apply_optimizer_in_backward(kinds[type(optimizers[name])], bag.parameters(), {"lr": 0.01})
    return bags


def _bag_sharder(sharding_types: Sequence[str]) -> Any:
    """Torchrec's sharder, allowed these types on every device: gloo runs some that the stock list leaves out."""
    from torchrec.distributed.embeddingbag import EmbeddingBagCollectionSharder

    sharder = EmbeddingBagCollectionSharder()
    sharder.sharding_types = lambda device_type: list(sharding_types)
    return sharder


def _padded(row_dim: int) -> int:
    """Torchrec's widths are multiples of four."""
    return -(-row_dim // KERNEL_ALIGNMENT) * KERNEL_ALIGNMENT
