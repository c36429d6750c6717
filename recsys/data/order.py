"""The order of an epoch's rows: a function of the seed and the epoch, shared by all ranks, computed piece by piece."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
from numpy.typing import NDArray

Interval = tuple[int, int]


@dataclass(frozen=True)
class Window:
    """Row groups whose rows are mixed with each other.

    Args:
        number: place among the epoch's windows.
        start: place of the window's first row in the epoch's order.
        num_rows: rows of all its row groups.
        groups: ids of the row groups.
    """

    number: int
    start: int
    num_rows: int
    groups: tuple[int, ...]


class RowOrder:
    """Shuffles a split by blocks: row groups in random order, and rows within every `shuffle_blocks` of them.

    The order is cut into windows; only the windows a reader wants are ever computed.

    Args:
        group_rows: number of rows of each row group.
        seed: same seed, same orders; every epoch has another one.
        shuffle: False keeps the stored order.
        shuffle_blocks: row groups mixed with each other; more is a better shuffle and takes more memory.

    Raises:
        ValueError: if seed < 0 or shuffle_blocks < 1.
    """

    def __init__(self, group_rows: Sequence[int], *, seed: int, shuffle: bool, shuffle_blocks: int) -> None:
        if seed < 0:
            raise ValueError(f"seed must not be negative, got {seed}.")
        if shuffle_blocks < 1:
            raise ValueError(f"shuffle_blocks must be at least 1, got {shuffle_blocks}.")
        self.group_rows = list(group_rows)
        self.num_rows = sum(self.group_rows)
        self.seed = seed
        self.shuffle = shuffle
        self.shuffle_blocks = shuffle_blocks if shuffle else 1

    def windows(self, epoch: int) -> list[Window]:
        """All windows of an epoch, in the epoch's order."""
        groups = list(range(len(self.group_rows)))
        if self.shuffle:
            groups = np.random.default_rng([self.seed, epoch]).permutation(len(groups)).tolist()
        members = [tuple(groups[i : i + self.shuffle_blocks]) for i in range(0, len(groups), self.shuffle_blocks)]
        num_rows = [sum(self.group_rows[group] for group in window) for window in members]
        starts = accumulate(num_rows, initial=0)
        return [Window(i, *window) for i, window in enumerate(zip(starts, num_rows, members, strict=False))]

    def rows(self, epoch: int, window: Window, start: int, stop: int) -> NDArray[np.int64] | slice:
        """Which of the window's stored rows come at places [start, stop) of the window."""
        if not self.shuffle:
            return slice(start, stop)
        generator = np.random.default_rng([self.seed, epoch, 1 + window.number])
        return generator.permutation(window.num_rows)[start:stop]


def overlaps(windows: Sequence[Window], intervals: Sequence[Interval]) -> Iterator[tuple[Window, int, int]]:
    """The windows that hold the intervals' rows, each with the wanted stretch [start, stop) within the window."""
    starts = [window.start for window in windows]
    for start, stop in intervals:
        first = max(0, bisect_right(starts, start) - 1)
        for window in windows[first:]:
            if window.start >= stop:
                break
            begin, end = max(start, window.start), min(stop, window.start + window.num_rows)
            if begin < end:
                yield window, begin - window.start, end - window.start


def count(intervals: Sequence[Interval]) -> int:
    """Rows in all intervals."""
    return sum(stop - start for start, stop in intervals)


def cut(intervals: Sequence[Interval], start: int, stop: int) -> list[Interval]:
    """Rows [start, stop) of the intervals laid end to end.

    >>> cut([(0, 4), (10, 20)], 2, 7)
    [(2, 4), (10, 13)]
    """
    pieces, passed = [], 0
    for low, high in intervals:
        begin, end = max(low, low + start - passed), min(high, low + stop - passed)
        if begin < end:
            pieces.append((begin, end))
        passed += high - low
    return pieces


def share(intervals: Sequence[Interval], rank: int, num_ranks: int) -> list[Interval]:
    """The rows of one rank: all ranks' shares are the intervals' rows, each once, and differ by one row at most."""
    num_rows = count(intervals)
    return cut(intervals, num_rows * rank // num_ranks, num_rows * (rank + 1) // num_ranks)
