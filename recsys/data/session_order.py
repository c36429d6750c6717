"""Which stretches of events an epoch trains on, and in which order: functions of a seed and the epoch alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recsys.data.sequences import Ints, Sequences


@dataclass(frozen=True)
class Windows:
    """Stretches [start, stop) of a split's flat events, each of one row.

    Shape:
        rows [W], start [W], stop [W]
    """

    rows: Ints
    start: Ints
    stop: Ints

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def lengths(self) -> Ints:
        """Events of each window."""
        return self.stop - self.start

    def num_targets(self) -> int:
        """Events that follow another one in some window; those in several windows count once."""
        if not len(self):
            return 0
        first = np.flatnonzero(np.diff(self.rows, prepend=-1))
        stretched = np.maximum.reduceat(self.stop, first) - np.minimum.reduceat(self.start, first) - 1
        return int(np.minimum(np.add.reduceat(self.lengths - 1, first), stretched).sum())


def last_events(sequences: Sequences, max_length: int) -> Windows:
    """The last max_length events of every sequence."""
    stop = sequences.offsets[1:]
    return Windows(np.arange(len(sequences)), np.maximum(sequences.offsets[:-1], stop - max_length), stop)


def sliding_windows(sequences: Sequences, width: int, stride: int, max_windows: int | None = None) -> Windows:
    """Windows of `width` events for training; there are none of one event, which predict nothing.

    Args:
        sequences: S of them.
        width: most events of a window.
        stride: how far each window lies before the next, from the last events back to the first.
        max_windows: most windows of a sequence, the last ones; None for as many as cover it.
    """
    lengths = sequences.lengths
    numbers = 1 - (-np.maximum(lengths - width, 0) // stride)
    numbers = numbers if max_windows is None else np.minimum(numbers, max_windows)
    rows = np.repeat(np.arange(len(sequences)), numbers)
    back = np.arange(len(rows)) - np.repeat(np.cumsum(numbers) - numbers, numbers)
    begin, stop = sequences.offsets[:-1][rows], sequences.offsets[1:][rows] - back * stride
    kept = stop - begin > 1
    return Windows(rows[kept], np.maximum(begin, stop - width)[kept], stop[kept])


@dataclass(frozen=True)
class SessionOrder:
    """Shuffles windows so that those of a batch are of similar length.

    All windows are shuffled; each bucket of `bucket_batches` batches is sorted by length and cut into batches; the
    bucket's batches are shuffled. Windows of equal length keep their shuffled order.

    Args:
        windows: to be ordered.
        seed: same seed, same orders; every epoch has another one.
        bucket_batches: batches sorted together; 1 is a plain shuffle, more saves padding and makes poorer samples.
    """

    windows: Windows
    seed: int
    bucket_batches: int

    def epoch(self, epoch: int, batch_size: int) -> Ints:
        """All windows in the epoch's order: [W]."""
        generator = np.random.default_rng([self.seed, epoch])
        order = generator.permutation(len(self.windows))
        if self.bucket_batches == 1:
            return order
        places = np.arange(len(order))
        buckets = places // (batch_size * self.bucket_batches)
        order = order[np.lexsort((places, self.windows.lengths[order], buckets))]
        batches = places // batch_size
        chance = generator.random(int(batches.max(initial=0)) + 1)
        # A batch that is not full stays last: what follows it would be cut at other places than sorted for.
        is_short = batches == len(order) // batch_size
        return order[np.lexsort((batches, chance[batches], buckets, is_short))]
