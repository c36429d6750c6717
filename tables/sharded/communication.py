"""The cost model of sharding: bytes that leave a process in one step, forward and backward, for each way to shard.

With W processes of B samples, a matrix of padded width P that a sample reads n times has N = n B bags of one id on
every process. Ids take 8 bytes, lengths of bags 4, values 4: rows are taken to be float32. Collectives are counted as
rings: an all-reduce of X bytes sends 2 X (W - 1) / W, an all-gather X (W - 1) / W, and so does a reduce-scatter on
nccl; on gloo it is an all-reduce.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.tables.base import PhysicalTable
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.sharded.placements import COLUMN_WISE, DATA_PARALLEL, ROW_WISE, TABLE_WISE, Placement

GLOO_REDUCE_SCATTER = 2.0
"""What gloo's reduce-scatter sends, beside a ring's."""

_ID, _LENGTH, _VALUE = 8, 4, 4


@dataclass(frozen=True)
class Traffic:
    """Bytes that a process sends in a step, on average over the processes.

    Args:
        within: to processes of its own host.
        between: to other hosts.
    """

    within: float = 0.0
    between: float = 0.0

    @property
    def total(self) -> float:
        """All bytes."""
        return self.within + self.between

    def __add__(self, other: Traffic) -> Traffic:
        return Traffic(self.within + other.within, self.between + other.between)


@dataclass(frozen=True)
class Network:
    """The processes and how they are joined.

    Args:
        num_ranks: W.
        ranks_per_host: processes that share a host; None for all.
        reduce_scatter_factor: what a reduce-scatter sends beside a ring's: 1 on nccl, 2 on gloo.
    """

    num_ranks: int
    ranks_per_host: int | None = None
    reduce_scatter_factor: float = 1.0

    @property
    def per_host(self) -> int:
        """Processes of a host."""
        return self.ranks_per_host or self.num_ranks

    @property
    def num_hosts(self) -> int:
        """Hosts."""
        return self.num_ranks // self.per_host

    def to_everyone(self, num_bytes: float) -> Traffic:
        """Bytes for all processes in equal parts; one's own part stays."""
        part = num_bytes / self.num_ranks
        return Traffic(part * (self.per_host - 1), part * (self.num_ranks - self.per_host))

    def around(self, num_bytes: float) -> Traffic:
        """Bytes sent to the next process of a ring through all hosts: one link of each host leads out."""
        leaving = num_bytes / self.per_host if self.num_hosts > 1 else 0.0
        return Traffic(num_bytes - leaving, leaving)


def traffic(
    table: PhysicalTable, optimizer: TableOptimizer, placement: Placement, num_bags: int, network: Network
) -> Traffic:
    """What one matrix costs.

    Args:
        table: the matrix.
        optimizer: of its rows.
        placement: where it is.
        num_bags: N, ids that one process looks up in it.
        network: the processes.
    """
    others = network.num_ranks - 1
    if others == 0 or isinstance(optimizer, Frozen):
        return Traffic()
    if placement.sharding_type == DATA_PARALLEL:
        # The sum of the gradients; where no dense optimizer steps, with one column that counts reads.
        columns = table.row_dim + (0 if isinstance(optimizer, DenseGradient) else 1)
        return network.around(2 * others / network.num_ranks * table.num_rows * columns * _VALUE)
    width = placement.width
    num_pieces = len({shard.columns for shard in placement.shards})
    vectors, lengths = num_bags * width * _VALUE, num_bags * _LENGTH
    ids = network.to_everyone(num_pieces * num_bags * _ID)
    round_trip = 1 + network.reduce_scatter_factor
    if placement.sharding_type in (TABLE_WISE, COLUMN_WISE):
        # To the holder and back, and the gradients to the holder again.
        return ids + network.to_everyone(num_pieces * lengths + 2 * vectors)
    if placement.sharding_type == ROW_WISE:
        # Every process answers for every bag, mostly with zeros: a reduce-scatter, and an all-gather of the gradients.
        return ids + network.to_everyone(network.num_ranks * lengths) + network.around(round_trip * others * vectors)
    # The same within a host that holds rows, then each answer to the process that asked.
    within = Traffic(round_trip * (network.per_host - 1) * vectors)
    between = Traffic(0.0, 2 * vectors * (network.num_hosts - 1) / network.num_hosts)
    return ids + network.to_everyone(num_pieces * network.per_host * lengths) + within + between
