"""Which events a split's rows read, and which item each row is to predict.

Rows are stretches [start, stop) of flat events that are sorted by sequence and time; a target is the place of an event.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
SplitBy = Literal["leave-one-out", "random", "time", "sequences", "given"]
Targets = Literal["last", "every"]
SPLITS_BY: tuple[SplitBy, ...] = get_args(SplitBy)


@dataclass(frozen=True)
class Flat:
    """Events of all sequences.

    Shape:
        offsets [S + 1]: sequence s is events [offsets[s], offsets[s + 1]); times [N] in microseconds, or None; period
        [N] where a split is given, 0 train, 1 val, 2 test, never falling within a sequence; or None
    """

    offsets: Ints
    times: Ints | None
    period: Ints | None = None


@dataclass(frozen=True)
class SplitRows:
    """Rows of one split: start [R], stop [R] and sequence [R]; target [R], or None in training."""

    sequence: Ints
    start: Ints
    stop: Ints
    target: Ints | None


@dataclass(frozen=True)
class SplitRule:
    """How sequences become train, val and test.

    Args:
        by: "leave-one-out": of every sequence of three events or more the last is the test target and the one before
            the val target; "random": the same of sequences whose events have been put in random order, where there
            are no times; "time": events of the last part of all time are val and test targets, histories go on;
            "sequences": whole sequences, by the time they begin; "given": the given split of each event, and where none
            is of val, the last whole train sequences.
        targets: of a sequence in val or test, "last" or "every" event that has one before it; leave-one-out knows one.
        val_fraction: of the events (time) or sequences, in (0, 1).
        test_fraction: likewise; not used by "given".
        seed: of "random".
    """

    by: SplitBy
    targets: Targets = "last"
    val_fraction: float = 0.1
    test_fraction: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse fractions that leave nothing to train on, and a seed that is none."""
        if self.seed < 0:
            raise ValueError(f"--seed must be at least 0, got {self.seed}.")
        total = self.val_fraction + (0 if self.by == "given" else self.test_fraction)
        if not (min(self.val_fraction, self.test_fraction) > 0 and total < 1):
            raise ValueError(
                f"--val-fraction and --test-fraction must be above 0 and below 1 together, got {self.val_fraction} and "
                f"{self.test_fraction}."
            )

    def rows(self, flat: Flat) -> dict[str, SplitRows]:
        """Rows of train, val and test.

        Raises:
            ValueError: the data lack what the rule needs, or leave a split without rows.
        """
        splits = {
            "leave-one-out": self._leave_one_out,
            "random": self._leave_one_out,
            "time": self._by_time,
            "sequences": self._by_sequence,
            "given": self._given,
        }[self.by](flat)
        for name, rows in splits.items():
            if not len(rows.start):
                raise ValueError(f"--split {self.by} leaves no row in {name}; choose other fractions or another split.")
        return splits

    def _leave_one_out(self, flat: Flat) -> dict[str, SplitRows]:
        start, stop = flat.offsets[:-1], flat.offsets[1:]
        held_out = np.flatnonzero(stop - start >= 3)
        train_stop = stop.copy()
        train_stop[held_out] -= 2
        return {
            "train": SplitRows(np.arange(len(start)), start, train_stop, None),
            "val": _histories(flat, held_out, stop[held_out] - 2),
            "test": _histories(flat, held_out, stop[held_out] - 1),
        }

    def _by_time(self, flat: Flat) -> dict[str, SplitRows]:
        times = _times(flat, self.by)
        ordered = np.sort(times)
        if ordered[0] == ordered[-1]:
            raise ValueError("--split time: all events have one time; use --split leave-one-out, or random.")
        num_train, num_before_test = self._ends(len(times))
        bounds = ordered[[max(num_train, 1) - 1, max(num_before_test, 1) - 1]]
        return self._events(flat, np.searchsorted(bounds, times, side="left"))

    def _ends(self, num: int) -> tuple[int, int]:
        """How many are in train, and how many in train or val."""
        num_test = round(num * self.test_fraction)
        return num - num_test - round(num * self.val_fraction), num - num_test

    def _by_sequence(self, flat: Flat) -> dict[str, SplitRows]:
        begins = _times(flat, self.by)[flat.offsets[:-1]]
        place = np.empty(len(begins), np.int64)
        place[np.argsort(begins, kind="stable")] = np.arange(len(begins))
        period = np.searchsorted(self._ends(len(begins)), place, side="right")
        return self._events(flat, np.repeat(period, np.diff(flat.offsets)))

    def _given(self, flat: Flat) -> dict[str, SplitRows]:
        if flat.period is None:
            raise ValueError("--split given: this log has no split of its own; name its column: given:COLUMN.")
        if (flat.period == 1).any():
            return self._events(flat, flat.period)
        first, last = flat.period[flat.offsets[:-1]], flat.period[flat.offsets[1:] - 1]
        whole = np.flatnonzero((first == 0) & (last == 0))
        if flat.times is not None:
            whole = whole[np.argsort(flat.times[flat.offsets[:-1]][whole], kind="stable")]
        is_val = np.zeros(len(first), np.bool_)
        is_val[whole[len(whole) - round(len(whole) * self.val_fraction) :]] = True
        return self._events(flat, np.where(np.repeat(is_val, np.diff(flat.offsets)), 1, flat.period))

    def _events(self, flat: Flat, period: Ints) -> dict[str, SplitRows]:
        """Rows from the split of each event, which never falls within a sequence: 0 train, 1 val, 2 test."""
        num_sequences = len(flat.offsets) - 1
        sequence = np.repeat(np.arange(num_sequences), np.diff(flat.offsets))
        trained = np.bincount(sequence[period == 0], minlength=num_sequences)
        chosen = np.flatnonzero(trained)
        start = flat.offsets[:-1][chosen]
        return {
            "train": SplitRows(chosen, start, start + trained[chosen], None),
            "val": self._targets(flat, np.flatnonzero(period == 1), sequence),
            "test": self._targets(flat, np.flatnonzero(period == 2), sequence),
        }

    def _targets(self, flat: Flat, candidates: Ints, sequence: Ints) -> SplitRows:
        """Rows for those of the candidate events that have an event before them: all, or each sequence's last."""
        places = candidates[candidates > flat.offsets[sequence[candidates]]]
        if self.targets == "last" and len(places):
            is_last = np.append(sequence[places[1:]] != sequence[places[:-1]], True)
            places = places[is_last]
        return _histories(flat, sequence[places], places)


def _histories(flat: Flat, sequence: Ints, target: Ints) -> SplitRows:
    return SplitRows(sequence, flat.offsets[:-1][sequence], target, target)


def _times(flat: Flat, by: str) -> Ints:
    if flat.times is None:
        raise ValueError(f"--split {by} needs times; give --time, or use --split leave-one-out.")
    return flat.times
