"""Batches of one split: shuffled, shared among ranks, and resumable at any batch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any

from recsys.argument_types import typed
from recsys.data.batch import Batch
from recsys.data.order import Interval, RowOrder, Window, count, cut, overlaps, share
from recsys.data.parquet import ParquetSplit, RowGroup
from recsys.data.prefetch import after_all, followed, in_order
from recsys.data.resumable import Progress, ResumableLoader, counts_of
from recsys.data.rows import Picking, Rows, batches, empty_batch

Stretch = tuple[Window, int, int]
"""A window, and places [start, stop) of its rows."""


@dataclass(frozen=True)
class Position:
    """Which rows of an epoch's order are still to come, of all ranks together."""

    epoch: int
    remaining: list[Interval]


class BatchLoader(ResumableLoader[Position, Batch]):
    """Iterates over the batches of one rank.

    Every rank takes an exact share of the epoch's rows and yields the same number of batches; a rank with one row
    less may end with a smaller batch, or an empty one.

    The state is the rows still to come, not the rows of one rank: another number of ranks, or another batch size,
    can go on from it and every row is still seen once.

    Args:
        split: where the rows are.
        order: the order of each epoch's rows.
        batch_size: rows B of a batch of one rank.
        rank: this process.
        num_ranks: all processes.
        drop_last: whether to leave out the rows that do not fill a batch on every rank.
        progress: the trainer's own count of batches; without it a batch counts as used once it is handed out.
        num_threads: that read and shuffle; the batches do not depend on it.
        pin_memory: make batches in page-locked memory, from which a GPU copies without being waited for.

    Raises:
        ValueError: if batch_size or num_threads is below 1, or there is no such rank.
    """

    @typed
    def __init__(
        self,
        split: ParquetSplit,
        order: RowOrder,
        *,
        batch_size: int,
        rank: int = 0,
        num_ranks: int = 1,
        drop_last: bool = False,
        progress: Progress | None = None,
        num_threads: int = 1,
        pin_memory: bool = False,
    ) -> None:
        for name, value in (("batch_size", batch_size), ("num_threads", num_threads)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}.")
        if not 0 <= rank < num_ranks:
            raise ValueError(f"rank must be in [0, num_ranks={num_ranks}), got {rank}.")
        self.split = split
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.num_ranks = num_ranks
        self.drop_last = drop_last
        self.num_threads = num_threads
        self.pin_memory = pin_memory
        super().__init__(progress)

    ranks_take_turns = False
    """Each rank has a stretch of the order, the first rank the first."""

    def state_dict(self) -> dict[str, Any]:
        """The rows still to come after the batches that were used, as intervals of the epoch's order."""
        num_used = self._num_used()
        intervals = self._position.remaining
        remaining = []
        if num_used < self._num_batches(intervals):
            for rank in range(self.num_ranks):
                mine = share(intervals, rank, self.num_ranks)
                remaining += cut(mine, num_used * self.batch_size, count(mine))
        return {**self._identity(), "epoch": self._position.epoch, "remaining": [list(each) for each in remaining]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go to a saved position.

        Raises:
            ValueError: if the state is of other data, or of another order of the rows.
        """
        (epoch,) = counts_of(state, ["epoch"])
        self._load(Position(epoch, self._intervals(state.get("remaining"))), state, f" over '{self.split.folder}'")

    def _intervals(self, saved: object) -> list[Interval]:
        """The rows still to come, if they are some.

        Raises:
            ValueError: naming what was saved instead.
        """
        found: Sequence[Any] = saved if isinstance(saved, list | tuple) else [None]
        for each in found:
            is_pair = isinstance(each, list | tuple) and len(each) == 2 and all(type(end) is int for end in each)
            if not is_pair or not 0 <= each[0] <= each[1]:
                raise ValueError(f"a loader's state must have remaining, pairs of row numbers, got {saved!r}.")
        return [(start, stop) for start, stop in found]

    def _identity(self) -> dict[str, Any]:
        """What the order of the rows depends on, apart from the epoch."""
        order = self.order
        return {
            "checksum": self.split.checksum,
            "num_rows": order.num_rows,
            "num_row_groups": len(order.group_rows),
            "seed": order.seed,
            "shuffle": order.shuffle,
            "shuffle_blocks": order.shuffle_blocks,
        }

    def _whole(self, epoch: int) -> Position:
        return Position(epoch, [(0, self.order.num_rows)])

    def _num_left(self, position: Position) -> int:
        return self._num_batches(position.remaining)

    def _num_batches(self, intervals: list[Interval]) -> int:
        if self.drop_last:
            return count(intervals) // self.num_ranks // self.batch_size
        return -(-count(intervals) // (self.num_ranks * self.batch_size))

    def _batches(self, position: Position) -> Iterator[Batch]:
        mine = share(position.remaining, self.rank, self.num_ranks)
        windows = self.order.windows(position.epoch)
        stretches = ((position.epoch, *stretch) for stretch in self._placed(overlaps(windows, mine)))
        pieces = in_order(
            lambda threads, stretch: self._begin(threads, *stretch),
            stretches,
            num_threads=self.num_threads,
            # Row groups enough to keep every thread busy while the rows of one window are taken.
            num_ahead=1 + (self.num_threads - 1) // self.order.shuffle_blocks,
        )
        filled = chain(batches(pieces, self.batch_size), repeat(empty_batch(self.split.schema)))
        return islice(filled, self._num_batches(position.remaining))

    def _placed(self, stretches: Iterable[Stretch]) -> Iterator[tuple[int, Stretch]]:
        """Each stretch of a window, and how many rows of the batch that it goes on with lie before it."""
        num_begun = 0
        for window, start, stop in stretches:
            yield num_begun, (window, start, stop)
            num_begun = (num_begun + stop - start) % self.batch_size

    def _begin(self, threads: ThreadPoolExecutor, epoch: int, num_begun: int, stretch: Stretch) -> Future[Rows]:
        """Read a window's row groups, each on its own, then pick the rows of a stretch from them, by columns."""
        window = stretch[0]

        def picking(groups: list[RowGroup]) -> Picking:
            picked = self.order.rows(epoch, *stretch)
            return Picking(self.split.schema, groups, picked, num_begun, self.batch_size, self.pin_memory)

        def picked(ready: Picking) -> Future[Rows]:
            return after_all(threads, lambda part: part(), ready.parts(), lambda _: ready.rows())

        return followed(after_all(threads, self.split.read, window.groups, picking), picked)
