"""The cost model of sharding: bytes that leave a process in one step, forward and backward, for each way to shard.

With W processes of B samples, a matrix that a sample reads n times is asked for N = n B rows by every process, whose
holders are taken to be spread evenly. Row numbers take 8 bytes, values 4: rows are taken to be float32. How much is
sent is told in 8 bytes to every process, which is not counted. An all-reduce of X bytes is counted as a ring, which
sends 2 X (W - 1) / W.
"""

from __future__ import annotations

from dataclasses import dataclass

from recsys.tables.lookups.optimizers import DenseGradient, Frozen, TableOptimizer
from recsys.tables.physical import PhysicalTable
from recsys.tables.sharded.placements import DATA_PARALLEL, Placement

_ID, _VALUE = 8, 4


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
    """

    num_ranks: int
    ranks_per_host: int | None = None

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
    table: PhysicalTable, optimizer: TableOptimizer, placement: Placement, num_ids: int, network: Network
) -> Traffic:
    """What one matrix costs.

    Args:
        table: the matrix.
        optimizer: of its rows.
        placement: where it is.
        num_ids: N, rows that one process asks it for.
        network: the processes.
    """
    others = network.num_ranks - 1
    if others == 0 or isinstance(optimizer, Frozen):
        return Traffic()
    if placement.sharding_type == DATA_PARALLEL:
        # The sum of the gradients; where no dense optimizer steps, with one column that counts reads.
        columns = table.row_dim + (0 if isinstance(optimizer, DenseGradient) else 1)
        return network.around(2 * others / network.num_ranks * table.num_rows * columns * _VALUE)
    # Every id to the holder of its row, the row back, and its gradient to the holder again, piece by piece.
    num_pieces, width = placement.num_pieces, table.row_dim
    return network.to_everyone(num_ids * (num_pieces * _ID + 2 * width * _VALUE))
