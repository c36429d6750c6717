"""Batches of one split: shuffled, shared among ranks, and resumable at any batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, islice, repeat
from typing import Any, Protocol

from recsys.batch import Batch
from recsys.data.order import Interval, RowOrder, Window, count, cut, overlaps, share
from recsys.data.parquet import ParquetSplit
from recsys.data.prefetch import prefetch
from recsys.data.rows import Rows, batches, empty_batch, pick


class Progress(Protocol):
    """The trainer's count of the batches of the running epoch it has trained on."""

    def get(self) -> int:
        """Batches trained on."""

    def set(self, num_batches: int) -> None:
        """Make the trainer believe that it has trained on that many."""


@dataclass(frozen=True)
class Position:
    """Which rows of an epoch's order are still to come, of all ranks together."""

    epoch: int
    remaining: list[Interval]


class BatchLoader:
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

    Raises:
        ValueError: if batch_size < 1.
    """

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
    ) -> None:
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
        self.split = split
        self.order = order
        self.batch_size = batch_size
        self.rank = rank
        self.num_ranks = num_ranks
        self.drop_last = drop_last
        self.progress = progress
        self._loaded = False
        self._position = self._whole(epoch=0)
        self._started = False
        self._num_yielded = 0

    ranks_take_turns = False
    """Each rank has a stretch of the order, the first rank the first."""

    batch_sampler = None
    """Lightning asks every loader with a sampler for one."""

    @property
    def sampler(self) -> BatchLoader:
        """Where Lightning looks for `set_epoch`."""
        return self

    def __len__(self) -> int:
        """Batches of a whole epoch, also while an epoch is being resumed."""
        return self._num_batches([(0, self.order.num_rows)])

    def __iter__(self) -> Iterator[Batch]:
        """The batches from the position on; the position is read when the first batch is asked for."""
        if self._started:
            self._go_to(self._whole(self._position.epoch))
        self._started = True
        for batch in self._batches(self._position):
            self._num_yielded += 1
            yield batch

    def set_epoch(self, epoch: int) -> None:
        """Go to the start of an epoch, or stay where the loaded state says if it is of this epoch."""
        if self._loaded and self.progress is not None:
            # A run that `max_steps` stopped has counted its epoch as done: the next one is whole.
            is_same = epoch == self._position.epoch
            self.progress.set(len(self) - self._num_batches(self._position.remaining) if is_same else 0)
        self._loaded = False
        if epoch != self._position.epoch:
            self._go_to(self._whole(epoch))

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
        for key, value in self._identity().items():
            if state[key] != value:
                raise ValueError(
                    f"the checkpoint was left in the middle of an epoch over '{self.split.folder}' with "
                    f"{key}={state[key]}, now {key}={value}; set it back, or load the weights alone."
                )
        self._go_to(Position(state["epoch"], [(start, stop) for start, stop in state["remaining"]]))
        self._loaded = True

    def _identity(self) -> dict[str, Any]:
        """What the order of the rows depends on, apart from the epoch."""
        order = self.order
        return {
            "num_rows": order.num_rows,
            "num_row_groups": len(order.group_rows),
            "seed": order.seed,
            "shuffle": order.shuffle,
            "shuffle_blocks": order.shuffle_blocks,
        }

    def _whole(self, epoch: int) -> Position:
        return Position(epoch, [(0, self.order.num_rows)])

    def _go_to(self, position: Position) -> None:
        self._position = position
        self._started = False
        self._num_yielded = 0

    def _num_used(self) -> int:
        """Batches since the position; a batch handed out ahead of its training step is not yet used."""
        if self.progress is None:
            return self._num_yielded
        num_before = len(self) - self._num_batches(self._position.remaining)
        return max(0, min(self._num_yielded, self.progress.get() - num_before))

    def _num_batches(self, intervals: list[Interval]) -> int:
        if self.drop_last:
            return count(intervals) // self.num_ranks // self.batch_size
        return -(-count(intervals) // (self.num_ranks * self.batch_size))

    def _batches(self, position: Position) -> Iterator[Batch]:
        mine = share(position.remaining, self.rank, self.num_ranks)
        windows = self.order.windows(position.epoch)
        stretches = ((position.epoch, *stretch) for stretch in overlaps(windows, mine))
        pieces = prefetch(lambda stretch: self._read(*stretch), stretches)
        filled = chain(batches(pieces, self.batch_size), repeat(empty_batch(self.split.schema)))
        return islice(filled, self._num_batches(position.remaining))

    def _read(self, epoch: int, window: Window, start: int, stop: int) -> Rows:
        groups = [self.split.read(group) for group in window.groups]
        return pick(self.split.schema, groups, self.order.rows(epoch, window, start, stop))
