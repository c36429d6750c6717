"""Matrices spread over the processes of a group: every id travels to the process that holds its row, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from recsys.tables.lookups.gradients import Record
from recsys.tables.lookups.optimizers import TableOptimizer
from recsys.tables.lookups.started import InputDistribution
from recsys.tables.lookups.store import Store, StoreFactory, state_dtype
from recsys.tables.physical import PhysicalTable
from recsys.tables.sharded.distribution import Owners, RowDistribution
from recsys.tables.sharded.placements import Placement, Span
from recsys.tables.sharded.shards import Part, region, sharded_tensor


class ShardedStore(Store):
    """Matrices of one optimiser and width, in shards; a process' own rows are in an ordinary store.

    Every process must call it in every step, with however few ids; gradients are divided by the number of processes,
    as DistributedDataParallel does, so that a mean over each process' samples trains like the mean over all.

    Where columns are split, all matrices of the store are split into as many pieces, and a row is read piece by piece:
    piece p of row r is row p * R + r of what is sent.

    Args:
        tables: the matrices.
        optimizer: of their rows.
        dtype: of the rows.
        device: of this process.
        seed: that rows are drawn from.
        placements: of each matrix, by name; none is replicated.
        local: makes the store of this process' rows.
    """

    reads_at_once = True

    def __init__(
        self,
        tables: Sequence[PhysicalTable],
        optimizer: TableOptimizer,
        dtype: torch.dtype,
        device: torch.device,
        seed: int,
        placements: Mapping[str, Placement],
        local: StoreFactory,
    ) -> None:
        super().__init__(tables, optimizer, dtype, device, seed)
        self.placements = {table.name: placements[table.name] for table in tables}
        self._num_pieces = self.placements[tables[0].name].num_pieces
        self._piece_dim = self.row_dim // self._num_pieces
        self._mine: list[tuple[str, Span, Span, int]] = []
        """Shards of this process: matrix, rows, columns, and where they begin in the local store."""
        self.owners = self._find_owners()
        num_rows = sum(rows[1] - rows[0] for _, rows, _, _ in self._mine)
        # In a tuple, so that what differs between processes is not a buffer that someone synchronises.
        self._stores: tuple[Store, ...] = ()
        if num_rows:
            mine = PhysicalTable("local", num_rows, self._piece_dim, 0.0)
            self._stores = (local([mine], optimizer, dtype, device, seed),)

    @property
    def _local(self) -> Store | None:
        """The rows of this process; None if it holds none."""
        return self._stores[0] if self._stores else None

    def _find_owners(self) -> Owners:
        shards = []
        for name, placement in self.placements.items():
            for shard in placement.shards:
                if shard.num_values:
                    piece = shard.columns[0] // self._piece_dim
                    shards.append((piece * self.num_rows + self.first_rows[name] + shard.rows[0], name, shard))
        places = [0] * dist.get_world_size()
        starts, ranks, at = [], [], []
        for start, name, shard in sorted(shards, key=lambda each: each[0]):
            starts.append(start)
            ranks.append(shard.rank)
            at.append(places[shard.rank])
            if shard.rank == dist.get_rank():
                self._mine.append((name, shard.rows, shard.columns, places[shard.rank]))
            places[shard.rank] += shard.rows[1] - shard.rows[0]
        return Owners(*(torch.tensor(values, device=self.device) for values in (starts, ranks, at)))

    @torch.no_grad()
    def draw(self) -> None:
        """Fill in the rows of this process, block by block: the whole matrix may be larger than its memory."""
        for name, (first, last), columns, place in self._mine:
            assert self._local is not None
            for start, block in self.tables[name].initial_blocks(first, last, self.dtype, seed=self.seed):
                part = block[:, slice(*columns)]
                rows = torch.arange(len(part), device=self.device) + (place + start - first)
                self._local.write_rows("local", "weight", rows, part)

    def gather(self, rows: Tensor) -> Tensor:
        """See Store."""
        return self.look_up(self.start(rows, waits=True))

    def start(self, rows: Tensor, waits: bool = False) -> RowDistribution:
        """See Store."""
        if self._num_pieces > 1:
            pieces = torch.arange(self._num_pieces, device=rows.device) * self.num_rows
            rows = torch.where(rows.unsqueeze(1) < 0, -1, rows.unsqueeze(1) + pieces).reshape(-1)
        distribution = RowDistribution(rows, self.owners)
        if waits:
            distribution.advance()
            distribution.finish()
        return distribution

    def look_up(self, distribution: InputDistribution) -> Tensor:
        """See Store."""
        assert isinstance(distribution, RowDistribution)
        asked = distribution.rows
        found = self._local.gather(asked) if self._local else self._nothing(len(asked))
        return distribution.bring_back(found).view(-1, self.row_dim)

    def _nothing(self, num_rows: int) -> Tensor:
        """What a process without rows is asked for: only "no row"."""
        return torch.zeros(num_rows, self._piece_dim, dtype=self.dtype, device=self.device)

    def at_home(self, record: Record) -> tuple[Tensor, Tensor]:
        """See Store."""
        distribution = record.distribution
        if distribution is None:
            return record.rows, record.grad
        assert isinstance(distribution, RowDistribution)
        grad = distribution.send_home(record.grad.view(-1, self._piece_dim))
        return distribution.rows, grad / dist.get_world_size()

    def step(self, rows: Tensor, grad: Tensor, learning_rate: float) -> None:
        """See Store; rows are those of this process."""
        if self._local is not None:
            self._local.num_steps = self.num_steps
            self._local.step(rows, grad, learning_rate)

    def merged(self, rows: Tensor, grad: Tensor) -> tuple[Tensor, Tensor]:
        """See Store."""
        return self._local.merged(rows, grad) if self._local else (rows, grad)

    def square_norm(self, rows: Tensor, grad: Tensor) -> Tensor:
        """See Store; of the rows of all processes."""
        own = self._local.square_norm(rows, grad) if self._local else torch.zeros((), device=self.device)
        total = own.float()
        dist.all_reduce(total)
        return total

    def matrix(self, kind: str) -> Tensor:
        """What this process holds of all matrices."""
        return self._local.matrix(kind) if self._local else self._nothing(0)

    def _parts(self, table: str, kind: str) -> list[Part]:
        """What this process holds of a matrix or of its state: rows, columns and the memory itself."""
        found = []
        for name, rows, columns, place in self._mine:
            if name == table and self._local is not None:
                held = self._local.matrix(kind).detach().narrow(0, place, rows[1] - rows[0])
                # A state of one number a row has one column, wherever the row's own columns begin.
                width = self._local.kinds()[kind]
                own = columns if width == self._piece_dim else (0, width)
                found.append((rows, own, held))
        return found

    def tensors(self, table: str) -> dict[str, Tensor]:
        """A matrix and its state, gathered from all processes, which must all call this."""
        found = {}
        for kind, width in self.kinds().items():
            whole = self._zeros(kind, self.tables[table].num_rows, width)
            for rows, columns, values in self._parts(table, kind):
                whole[slice(*rows), slice(*columns)] = values
            dist.all_reduce(whole)
            found[kind] = whole
        return found

    def _zeros(self, kind: str, num_rows: int, width: int) -> Tensor:
        dtype = self.dtype if kind == "weight" else state_dtype(self.dtype)
        return torch.zeros(num_rows, width, dtype=dtype, device=self.device)

    def saved_tensors(self, table: str) -> dict[str, Any]:
        """A matrix and its state as ShardedTensors: nothing leaves its process."""
        return {
            kind: sharded_tensor(
                self.placements[table],
                self.tables[table].num_rows,
                width,
                self._parts(table, kind),
                self.dtype if kind == "weight" else state_dtype(self.dtype),
                self.device,
            )
            for kind, width in self.kinds().items()
        }

    @torch.no_grad()
    def load_tensor(self, table: str, kind: str, values: Any) -> None:
        """See Store; each process takes its part of a whole tensor, or its own shards of a ShardedTensor."""
        for rows, columns, held in self._parts(table, kind):
            held.copy_(region(values, rows, columns))
        self._forget_cached()

    def _forget_cached(self) -> None:
        if self._local is not None:
            self._local.forget_cached()

    def read_rows(self, table: str, kind: str, rows: Tensor) -> Tensor:
        """See Store; all processes must ask for the same rows."""
        found = self._zeros(kind, len(rows), self.kinds()[kind])
        for held, columns, values in self._parts(table, kind):
            here = (rows >= held[0]) & (rows < held[1])
            found[here, slice(*columns)] = values[rows[here] - held[0]]
        dist.all_reduce(found)
        return found

    @torch.no_grad()
    def write_rows(self, table: str, kind: str, rows: Tensor, values: Tensor) -> None:
        """See Store; each process writes what it holds of them."""
        for held, columns, mine in self._parts(table, kind):
            here = (rows >= held[0]) & (rows < held[1])
            mine[rows[here] - held[0]] = values[here, slice(*columns)].to(mine)
        self._forget_cached()
