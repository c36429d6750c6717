"""The cost model of sharding: bytes that leave a process in one step, forward and backward, for each way to shard.

With W processes of B samples, a matrix of padded width P that a sample reads n times has N = n B bags of one id on
every process. Ids take 8 bytes, lengths of bags 4, values 4. Collectives are counted as rings: an all-reduce of X bytes
sends 2 X (W - 1) / W, a reduce-scatter or all-gather X (W - 1) / W.
"""

from __future__ import annotations

from recsys.tables.base import PhysicalTable
from recsys.tables.placements import (
    COLUMN_WISE,
    DATA_PARALLEL,
    GRID_SHARD,
    ROW_WISE,
    TABLE_ROW_WISE,
    TABLE_WISE,
    Placement,
)

_ID, _LENGTH, _VALUE = 8, 4, 4


def bytes_sent(
    table: PhysicalTable, placement: Placement, num_bags: int, num_ranks: int, ranks_per_host: int | None = None
) -> float:
    """Bytes that a process sends in a step for one matrix, on average over the processes.

    Args:
        table: the matrix.
        placement: where it is.
        num_bags: N, ids that one process looks up in it.
        num_ranks: W.
        ranks_per_host: processes that share a host; None for all.
    """
    if num_ranks == 1:
        return 0.0
    others = num_ranks - 1
    if placement.sharding_type == DATA_PARALLEL:
        # The sum of the gradients and one column that counts reads.
        return 2 * others / num_ranks * table.num_rows * (table.row_dim + 1) * _VALUE
    width = max(shard.columns[1] for shard in placement.shards)
    num_pieces = len({shard.columns for shard in placement.shards})
    vectors = num_bags * width * _VALUE
    ids = num_pieces * num_bags * _ID * others / num_ranks
    lengths = num_bags * _LENGTH
    if placement.sharding_type in (TABLE_WISE, COLUMN_WISE):
        # To the holder and back, and the gradients to the holder again.
        return ids + num_pieces * lengths * others / num_ranks + 2 * vectors * others / num_ranks
    if placement.sharding_type == ROW_WISE:
        # Every process answers for every bag, mostly with zeros: a reduce-scatter, and an all-gather of the gradients.
        return ids + others * lengths + 2 * others * vectors
    assert placement.sharding_type in (TABLE_ROW_WISE, GRID_SHARD)
    per_host = ranks_per_host or num_ranks
    num_hosts = num_ranks // per_host
    within = (per_host - 1) * vectors
    between = vectors * (num_hosts - 1) / num_hosts
    return ids + num_pieces * per_host * lengths * others / num_ranks + 2 * (within + between)
