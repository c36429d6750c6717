"""Exact AUC of more rows than memory holds: a radix sort that reads the rows again instead of storing them.

A score's bits, reordered so that whole numbers compare as scores do, are counted 16 at a time. Runs of neighbouring
values that fit in memory are collected in one more reading and counted exactly; a value that does not fit is split by
its next 16 bits, or, when none are left, is one large tie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from recsys.argument_types import typed
from recsys.evaluation.ranks import PairCounts, Sorted, count_pairs

Batches = Callable[[], Iterable[tuple[NDArray[np.bool_], NDArray[np.floating]]]]
"""Reads all rows from the start: batches of (is_positive [N], scores [N])."""

_BITS, _LEVELS = 16, 4
_Keys = NDArray[np.uint64]


@typed
def pair_counts_of_batches(batches: Batches, memory_rows: int) -> PairCounts:
    """Counts of all pairs, holding at most about ``memory_rows`` rows at a time.

    Raises:
        ValueError: if memory_rows is below 1, or a batch is of another kind.
    """
    if memory_rows < 1:
        raise ValueError(f"memory_rows must be at least 1, got {memory_rows}.")
    histogram = _histogram(batches, prefix=0, level=0)
    totals = (int(histogram[0].sum()), int(histogram[1].sum()))
    counts = PairCounts(*totals)
    for part in _parts(batches, histogram, 0, 0, (0, 0), totals, memory_rows):
        counts.twice_wins += part.twice_wins
        counts.positive_squares += part.positive_squares
        counts.negative_squares += part.negative_squares
    return counts


def _parts(
    batches: Batches,
    histogram: NDArray[np.int64],
    prefix: int,
    level: int,
    below: tuple[int, int],
    totals: tuple[int, int],
    memory_rows: int,
) -> Iterator[PairCounts]:
    """Counts of runs of values, from the lowest; ``below`` counts the rows under the prefix."""
    for start, stop in _runs(histogram.sum(0), memory_rows):
        num_positives, num_negatives = (int(column[start:stop].sum()) for column in histogram)
        if num_positives + num_negatives <= memory_rows:
            yield count_pairs(*_collect(batches, prefix, level, start, stop), below, totals)
        elif level == _LEVELS - 1:
            yield _tie(num_positives, num_negatives, below, totals)
        else:
            inner = prefix << _BITS | start
            histogram_inside = _histogram(batches, inner, level + 1)
            yield from _parts(batches, histogram_inside, inner, level + 1, below, totals, memory_rows)
        below = (below[0] + num_positives, below[1] + num_negatives)


def _runs(sizes: NDArray[np.int64], memory_rows: int) -> Iterator[tuple[int, int]]:
    """Neighbouring values that together fit in memory, or one value that does not."""
    ends = np.cumsum(sizes)
    start = int(np.searchsorted(ends, 0, "right"))
    while start < len(sizes):
        before = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + memory_rows, "right")))
        yield start, stop
        start = int(np.searchsorted(ends, ends[stop - 1], "right"))


def _histogram(batches: Batches, prefix: int, level: int) -> NDArray[np.int64]:
    """Rows of both labels by the 16 bits that follow the prefix, [2, 65536]: positives first."""
    found = np.zeros((2, 1 << _BITS), dtype=np.int64)
    for is_positive, keys in _under(batches, prefix, level):
        digits = (keys >> np.uint64(64 - _BITS * (level + 1)) & np.uint64((1 << _BITS) - 1)).astype(np.int64)
        found[0] += np.bincount(digits[is_positive], minlength=1 << _BITS)
        found[1] += np.bincount(digits[~is_positive], minlength=1 << _BITS)
    return found


def _collect(batches: Batches, prefix: int, level: int, start: int, stop: int) -> tuple[Sorted, Sorted]:
    """Keys of both labels whose 16 bits after the prefix are in [start, stop); they order as the scores do."""
    positives: list[_Keys] = []
    negatives: list[_Keys] = []
    for is_positive, keys in _under(batches, prefix, level):
        digits = keys >> np.uint64(64 - _BITS * (level + 1)) & np.uint64((1 << _BITS) - 1)
        inside = (digits >= start) & (digits < stop)
        positives.append(keys[inside & is_positive])
        negatives.append(keys[inside & ~is_positive])
    return Sorted.of(np.concatenate(positives)), Sorted.of(np.concatenate(negatives))


def _under(batches: Batches, prefix: int, level: int) -> Iterator[tuple[NDArray[np.bool_], _Keys]]:
    """Rows whose leading bits are the prefix."""
    for is_positive, scores in map(_checked, batches()):
        keys = ordered_bits(scores)
        if level:
            inside = keys >> np.uint64(64 - _BITS * level) == np.uint64(prefix)
            is_positive, keys = is_positive[inside], keys[inside]
        yield is_positive, keys


def _checked(batch: object) -> tuple[NDArray[np.bool_], NDArray[np.floating]]:
    """A batch, if it is what `Batches` says: labels of 0 and 1 that are no truth values would pick rows by number."""
    if not isinstance(batch, tuple | list) or len(batch) != 2 or not all(isinstance(v, np.ndarray) for v in batch):
        got = type(batch).__name__
        raise ValueError(f"batches must give pairs of arrays, (is_positive [N], scores [N]), got {got}.")
    is_positive, scores = batch
    have_kinds = is_positive.dtype == bool and scores.dtype.kind == "f"
    if not have_kinds or is_positive.ndim != 1 or is_positive.shape != scores.shape:
        raise ValueError(
            "batches: is_positive must be truth values [N] and scores floats [N], got "
            f"{list(is_positive.shape)} of {is_positive.dtype} and {list(scores.shape)} of {scores.dtype}."
        )
    if np.isnan(scores).any():
        raise ValueError("batches: scores must be numbers, got NaN.")
    return is_positive, scores


def ordered_bits(scores: NDArray[np.floating]) -> _Keys:
    """Whole numbers that compare as the scores do; -0.0 and 0.0 are one."""
    bits = (scores.astype(np.float64) + 0.0).view(np.int64)
    return (bits ^ ((bits >> 63) & np.int64((1 << 63) - 1))).view(np.uint64) ^ np.uint64(1 << 63)


def _tie(num_positives: int, num_negatives: int, below: tuple[int, int], totals: tuple[int, int]) -> PairCounts:
    """Rows that all have one score."""
    won, lost = 2 * below[1] + num_negatives, 2 * below[0] + num_positives
    return PairCounts(
        num_positives,
        num_negatives,
        num_positives * won,
        num_positives * (won / (2 * totals[1])) ** 2,
        num_negatives * (1 - lost / (2 * totals[0])) ** 2,
    )
