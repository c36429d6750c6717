"""Which matrix is sharded how: as the user says, else small ones replicated, large ones by rows, the rest whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase

from recsys.argument_types import check_fields
from recsys.tables.lookups.optimizers import DenseGradient, Frozen, RowWiseAdagrad, TableOptimizer
from recsys.tables.physical import PhysicalTable
from recsys.tables.sharded.placements import (
    COLUMN_WISE,
    DATA_PARALLEL,
    GRID_SHARD,
    ROW_WISE,
    SHARDING_TYPES,
    TABLE_ROW_WISE,
    TABLE_WISE,
    Placement,
    Shard,
    by_rows,
    cut_columns,
    grid,
    replicated,
    whole,
)

COMPUTE_KERNELS = ("fused", "fused_uvm", "fused_uvm_caching")
ALWAYS_REPLICATED = (DenseGradient, Frozen)
"""Optimisers whose rows DistributedDataParallel keeps equal."""


@dataclass(frozen=True)
class TableSharding:
    """What a user says of the sharding of some matrices, in torchrec's words.

    Args:
        sharding_type: data_parallel, table_wise, row_wise, column_wise, table_row_wise or grid_shard.
        compute_kernel: fused, or on a GPU fused_uvm or fused_uvm_caching, which keep the rows in host memory.

    Raises:
        ValueError: on another word.
    """

    sharding_type: str | None = None
    compute_kernel: str | None = None

    def __post_init__(self) -> None:
        """Refuse unknown words."""
        check_fields(self)
        for name, known in (("sharding_type", SHARDING_TYPES), ("compute_kernel", COMPUTE_KERNELS)):
            value = getattr(self, name)
            if value is not None and value not in known:
                raise ValueError(f"TableSharding: {name} must be one of {', '.join(known)}, got '{value}'.")


@dataclass(frozen=True)
class Sharding:
    """How the matrices of a model are spread over processes.

    Args:
        constraints: what is asked for some matrices, by name or pattern of their names; a pattern passes over rows
            that are always replicated, those of DenseGradient and Frozen.
        planner: let torchrec's planner choose where nothing is asked, by its estimates of time and memory.
        replicate_rows: matrices with at most this many rows are replicated, unless their own name asks for a kernel:
            sending their gradients costs less than sending ids and vectors.
        memory_bytes: what rows and their optimiser state may take in each process, on its device; None for no limit.
            Rows that a compute kernel keeps in host memory do not count, and host memory is not checked.
        ranks_per_host: processes that share a host; None for all of them.

    Raises:
        ValueError: if a number is out of range.
    """

    constraints: Mapping[str, TableSharding] = field(default_factory=dict)
    planner: bool = False
    replicate_rows: int = 1024
    memory_bytes: int | None = None
    ranks_per_host: int | None = None

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        check_fields(self)
        for name, least in (("replicate_rows", 0), ("memory_bytes", 1), ("ranks_per_host", 1)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise ValueError(f"Sharding: {name} must be at least {least}, got {value}.")

    def wish(self, table: str, patterns: bool = True) -> TableSharding:
        """What is asked for a matrix; later patterns add to earlier ones, and its own name to all of them.

        Args:
            table: its name.
            patterns: False to heed its own name only.
        """
        found = TableSharding()
        for pattern, asked in sorted(self.constraints.items(), key=lambda entry: entry[0] == table):
            if pattern == table or (patterns and fnmatchcase(table, pattern)):
                said = {name: value for name, value in vars(asked).items() if value is not None}
                found = replace(found, **said)
        return found

    def check_names(self, tables: Sequence[str]) -> None:
        """Refuse a pattern that names nothing.

        Raises:
            ValueError: naming the pattern and the matrices there are.
        """
        for pattern in self.constraints:
            if not any(name == pattern or fnmatchcase(name, pattern) for name in tables):
                close = get_close_matches(pattern, tables, n=1)
                hint = f"; did you mean '{close[0]}'?" if close else ""
                raise ValueError(f"sharding constraint '{pattern}' names no matrix{hint} (known: {', '.join(tables)}).")


def wish_of(table: PhysicalTable, optimizer: TableOptimizer, sharding: Sharding) -> TableSharding:
    """What is asked for a matrix; patterns pass over one that is always replicated."""
    return sharding.wish(table.name, patterns=type(optimizer) not in ALWAYS_REPLICATED)


def place_tables(
    tables: Sequence[PhysicalTable],
    optimizers: Mapping[str, TableOptimizer],
    num_ranks: int,
    sharding: Sharding | None = None,
) -> dict[str, Placement]:
    """Place matrices as asked, and the others so that no process holds much more than another.

    Where nothing is asked, a small matrix is replicated. The others go, largest first, to the process that holds the
    least so far, whole, so that each id is sent to one process only. One larger than a process' fair share is split by
    rows, over the processes of one host if there are several hosts and it fits there, because every process that holds
    rows answers for every id.

    Args:
        tables: the matrices.
        optimizers: of each, by name.
        num_ranks: processes.
        sharding: what the user asks for.

    Raises:
        ValueError: if what is asked for a matrix cannot be, or the matrices do not fit.
    """
    sharding = sharding or Sharding()
    sharding.check_names([table.name for table in tables])
    types = {table.name: sharding_type_of(table, optimizers[table.name], sharding, num_ranks) for table in tables}
    num_bytes = {table.name: bytes_of(table, optimizers[table.name]) for table in tables}
    spread = [name for name, kind in types.items() if kind != DATA_PARALLEL]
    share = sum(num_bytes[name] for name in spread) / num_ranks
    load = [0.0] * num_ranks
    found: dict[str, Placement] = {}
    for table in sorted(tables, key=lambda table: (-num_bytes[table.name], table.name)):
        kind = types[table.name] or TABLE_WISE
        if types[table.name] is None and num_ranks > 1 and num_bytes[table.name] > share:
            kind = _by_rows(num_bytes[table.name], num_ranks, sharding, load)
        shards = _shards(table, kind, num_ranks, sharding.ranks_per_host or num_ranks, load)
        wish = wish_of(table, optimizers[table.name], sharding)
        found[table.name] = Placement(kind, shards, None if kind == DATA_PARALLEL else wish.compute_kernel)
        load = [before + bytes_on(table, optimizers[table.name], found[table.name], r) for r, before in enumerate(load)]
    return {table.name: found[table.name] for table in tables}


def _by_rows(num_bytes: int, num_ranks: int, sharding: Sharding, load: Sequence[float]) -> str:
    """Over one host where that is enough, else over all."""
    per_host = sharding.ranks_per_host or num_ranks
    if per_host == num_ranks:
        return ROW_WISE
    host = min((load[first : first + per_host] for first in range(0, num_ranks, per_host)), key=sum)
    fits = sharding.memory_bytes is None or max(host) + num_bytes / per_host <= sharding.memory_bytes
    return TABLE_ROW_WISE if fits else ROW_WISE


def bytes_of(table: PhysicalTable, optimizer: TableOptimizer) -> int:
    """Bytes of a matrix of float32 rows, and of their optimiser state.

    The state that a dense optimiser keeps of DenseGradient rows is not counted.
    """
    return 4 * table.num_rows * (table.row_dim + sum(optimizer.state_dims(table.row_dim).values()))


def bytes_on(table: PhysicalTable, optimizer: TableOptimizer, placement: Placement, rank: int) -> int:
    """Bytes of them on one process."""
    return bytes_of(table, optimizer) * placement.values_on(rank) // (table.num_rows * table.row_dim)


def sharding_type_of(table: PhysicalTable, optimizer: TableOptimizer, sharding: Sharding, num_ranks: int) -> str | None:
    """The type asked for or forced; None where it is free.

    Raises:
        ValueError: if the optimiser does not go with it, or a kernel is asked for rows that are replicated.
    """
    asked = wish_of(table, optimizer, sharding).sharding_type
    own_kernel = sharding.wish(table.name, patterns=False).compute_kernel
    if own_kernel is not None and (asked == DATA_PARALLEL or type(optimizer) in ALWAYS_REPLICATED):
        raise ValueError(
            f"physical table '{table.name}': replicated rows have no compute_kernel, got {own_kernel}; leave it out, "
            "or shard the rows."
        )
    if type(optimizer) in ALWAYS_REPLICATED:
        if asked not in (None, DATA_PARALLEL):
            raise ValueError(
                f"physical table '{table.name}': {type(optimizer).__name__} rows are replicated, so sharding_type must "
                f"be data_parallel, got {asked}."
            )
        return DATA_PARALLEL
    is_small = table.num_rows <= sharding.replicate_rows and own_kernel is None
    if asked is None and is_small and num_ranks > 1:
        return DATA_PARALLEL
    if asked in (COLUMN_WISE, GRID_SHARD) and isinstance(optimizer, RowWiseAdagrad):
        raise ValueError(
            f"physical table '{table.name}': {asked} would give each piece of a row a state of its own, which is not "
            "RowWiseAdagrad; use row_wise, or Adagrad or SGD."
        )
    return asked


def _shards(
    table: PhysicalTable, kind: str, num_ranks: int, ranks_per_host: int, load: Sequence[float]
) -> tuple[Shard, ...]:
    """The shards of one matrix, on the processes with the least so far."""
    width, ranks = table.row_dim, range(num_ranks)
    lightest = sorted(ranks, key=lambda rank: load[rank])
    hosts = [ranks[first : first + ranks_per_host] for first in range(0, num_ranks, ranks_per_host)]
    hosts.sort(key=lambda host: sum(load[rank] for rank in host))
    if kind == DATA_PARALLEL:
        return replicated(table.num_rows, table.row_dim, num_ranks)
    if kind == TABLE_WISE:
        return whole(table.num_rows, width, lightest[0])
    if kind == ROW_WISE:
        return by_rows(table.num_rows, width, ranks)
    if kind == TABLE_ROW_WISE:
        return by_rows(table.num_rows, width, hosts[0])
    if kind == COLUMN_WISE:
        pieces = cut_columns(width, num_ranks)
        return tuple(Shard(rank, (0, table.num_rows), piece) for rank, piece in zip(lightest, pieces, strict=False))
    pieces = cut_columns(width, len(hosts))
    blocks = [grid(table.num_rows, piece, host) for host, piece in zip(hosts, pieces, strict=False)]
    return tuple(shard for block in blocks for shard in block)
