"""Whether a plan fits so many devices, and what a step sends, from sizes alone: no device is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.human import human_bytes
from recsys.prepare.clicks.allocation import Allocation, Column
from recsys.tables import PhysicalTable, RowWiseAdagrad, Sharding, TableOptimizer
from recsys.tables.sharded.communication import Network, Traffic, traffic
from recsys.tables.sharded.plan import bytes_on, place_tables


@dataclass(frozen=True)
class Fleet:
    """The devices that rows are to be spread over.

    Args:
        num_devices: of all hosts.
        memory_bytes: of each, for rows and their optimizer state.
        batch_size: samples of a step over all devices.
        devices_per_host: those that share a host.
    """

    num_devices: int
    memory_bytes: int
    batch_size: int
    devices_per_host: int


@dataclass(frozen=True)
class Placed:
    """What a fleet holds and sends.

    Args:
        most_bytes: on the device that holds most, rows and optimizer state.
        least_bytes: on the one that holds least.
        sent: by a device in a step, forward and backward.
    """

    most_bytes: int
    least_bytes: int
    sent: Traffic


def place(
    allocation: Allocation, columns: Sequence[Column], fleet: Fleet, optimizer: TableOptimizer | None = None
) -> Placed:
    """Spread a plan's matrices as `trainer.strategy: torchrec` does where nothing is asked for.

    Args:
        allocation: the plan.
        columns: the features, one id a sample each.
        fleet: the devices.
        optimizer: of the rows; None for RowWiseAdagrad.

    Raises:
        ValueError: if the rows do not fit, with what they need.
    """
    optimizer = optimizer or RowWiseAdagrad()
    dim, tail_dim = allocation.embedding_dim, allocation.embedding_dim // allocation.num_lookups
    tables = [PhysicalTable(column.name, allocation.heads[column.name], dim, 0.01) for column in columns]
    per_device = fleet.batch_size // fleet.num_devices
    reads = {c.name: round(per_device * (1 - allocation.tail_share(c))) for c in columns}
    if allocation.num_rows:
        tables.append(PhysicalTable("tail", allocation.num_rows, tail_dim, 0.01))
        reads["tail"] = allocation.num_lookups * sum(per_device - reads[c.name] for c in columns)
    sharding = Sharding(memory_bytes=fleet.memory_bytes, ranks_per_host=fleet.devices_per_host)
    placements = place_tables(tables, {table.name: optimizer for table in tables}, fleet.num_devices, sharding)
    held = [
        sum(bytes_on(table, optimizer, placements[table.name], rank) for table in tables)
        for rank in range(fleet.num_devices)
    ]
    if max(held) > fleet.memory_bytes:
        raise ValueError(
            f"the plan does not fit: with the state of {type(optimizer).__name__} its rows take "
            f"{human_bytes(max(held))} on one of {fleet.num_devices} devices, which has "
            f"{human_bytes(fleet.memory_bytes)}; take more devices or a smaller budget."
        )
    network = Network(fleet.num_devices, fleet.devices_per_host)
    sent = sum((traffic(t, optimizer, placements[t.name], reads[t.name], network) for t in tables), Traffic())
    return Placed(max(held), min(held), sent)
