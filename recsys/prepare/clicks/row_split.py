"""Which rows train, which validate, which test: by row order, at random, by day or time, or as given."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.clicks.row_store import ArrayFile, RowStore

SPLITS = ("train", "val", "test")
TRAIN = 0
SplitBy = Literal["rows", "random", "day", "time", "given", "test"]


@dataclass(frozen=True)
class SplitRule:
    """How rows are assigned.

    Attributes:
        by: ``rows`` cuts the row order; ``random`` draws for each row on its own, so the fractions hold on average;
            ``day`` gives whole days in time order to the split where the middle of the day's rows falls, and at least
            one day to each split whose fraction is not 0; ``time`` cuts the order of time, and rows of one time stay
            together; ``given`` takes the split that the rows have; ``test`` takes all of them to test.
        fractions: Of train, val and test; they sum to 1.
        seed: Of the random draw.
    """

    by: SplitBy
    fractions: tuple[float, float, float]
    seed: int = 0

    def __post_init__(self) -> None:
        if not (min(self.fractions) >= 0 and abs(sum(self.fractions) - 1) <= 1e-6 and self.fractions[0] > 0):
            raise ValueError(
                f"fractions must be three numbers >= 0 that sum to 1, the first (train) above 0, got {self.fractions}."
            )

        if not 0 <= self.seed < 1 << 63:
            raise ValueError(f"--seed must be a whole number in [0, 2**63), got {self.seed}.")

    def as_json(self) -> dict[str, object]:
        """Return plain values for schema.json."""
        return {
            "by": self.by,
            "fractions": list(self.fractions),
            "seed": self.seed if self.by == "random" else None,
        }


def assign_splits(rule: SplitRule, store: RowStore) -> None:
    """Fill ``store.splits`` with 0 (train), 1 (val) or 2 (test) for each row.

    Raises:
        ValueError: There are too few days for the split by day, or too few times for that by time; no given row trains.
    """
    if rule.by == "given":
        return _check_given(store)
    days = _split_of_days(rule, store) if rule.by == "day" else {}
    last_times = _last_times(rule, store) if rule.by == "time" else []
    ends = np.round(store.num_rows * np.cumsum(rule.fractions[:2]))
    for block in range(store.num_blocks):
        start, stop = store.ends[block : block + 2]
        if rule.by == "day":
            known, places = np.unique(store.days.read(block), return_inverse=True)
            store.splits.append(np.array([days[day] for day in known.tolist()], dtype=np.uint8)[places])
        elif rule.by == "random":
            store.splits.append(_place(uniform(rule.seed, start, stop), rule.fractions))
        elif rule.by == "time":
            assert store.times is not None
            store.splits.append(np.searchsorted(np.array(last_times), store.times.read(block), side="left"))
        elif rule.by == "test":
            store.splits.append(np.full(stop - start, SPLITS.index("test")))
        else:
            store.splits.append(np.searchsorted(ends, np.arange(start, stop), side="right"))


def uniform(seed: int, start: int, stop: int) -> NDArray[np.float64]:
    """Return a draw from [0, 1) for each row number in [start, stop), the same wherever blocks begin (SplitMix64)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    state = np.arange(start + 1, stop + 1, dtype=np.uint64) * golden + mix64(np.array([seed], dtype=np.uint64) + golden)
    return (mix64(state) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mix64(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Return SplitMix64's bijection of 64-bit words (Steele, Lea, Flood 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _place(position: NDArray[np.float64], fractions: tuple[float, float, float]) -> NDArray[np.uint8]:
    """Return the split where each position in [0, 1) of the cumulated fractions falls."""
    return np.searchsorted(np.cumsum(fractions[:2]), position, side="right").astype(np.uint8)


def _split_of_days(rule: SplitRule, store: RowStore) -> dict[int, int]:
    num_rows: dict[int, int] = {}
    for block in range(store.num_blocks):
        for day, count in zip(*np.unique(store.days.read(block), return_counts=True), strict=True):
            num_rows[int(day)] = num_rows.get(int(day), 0) + int(count)
    days = sorted(num_rows)
    counts = np.array([num_rows[day] for day in days])
    middle = (np.cumsum(counts) - counts / 2) / store.num_rows
    _, for_val, for_test = (int(fraction > 0) for fraction in rule.fractions)
    if len(days) < 1 + for_val + for_test:
        raise ValueError(
            f"--split day: the rows are of {len(days)} day(s), too few for the splits; use --split random, or "
            "other --fractions."
        )
    num_before = [int(np.count_nonzero(middle < total)) for total in np.cumsum(rule.fractions[:2])]
    train_end = min(max(num_before[0], 1), len(days) - for_val - for_test)
    val_end = min(max(num_before[1], train_end + for_val), len(days) - for_test)
    return {day: int(place >= train_end) + int(place >= val_end) for place, day in enumerate(days)}


def _check_given(store: RowStore) -> None:
    if not any((store.splits.read(block) == TRAIN).any() for block in range(store.num_blocks)):
        raise ValueError("--split given: no row has the split train.")


def _last_times(rule: SplitRule, store: RowStore) -> list[int]:
    """The latest time of train, and that of val."""
    assert store.times is not None
    num_train, num_before_test = np.round(store.num_rows * np.cumsum(rule.fractions[:2])).astype(int).tolist()
    last_train, last_val = (nth_smallest(store.times, max(place, 1)) for place in (num_train, num_before_test))
    latest = nth_smallest(store.times, store.num_rows)
    empty = [
        name
        for name, fraction, is_empty in (
            ("val", rule.fractions[1], last_val == last_train),
            ("test", rule.fractions[2], latest == last_val),
        )
        if fraction > 0 and is_empty
    ]
    if empty:
        raise ValueError(
            f"--split time: no row is left for {' and '.join(empty)}: of {store.num_rows:,} rows too few are later "
            "than those of train; give more rows, other --fractions, or --split random."
        )
    return [last_train, last_val]


def nth_smallest(times: ArrayFile[np.int64], place: int) -> int:
    """Return the number at ``place``, from 1, in sorted order: four passes of 16 bits, in little memory."""
    found, fixed = 0, 64
    while fixed > 0:
        fixed -= 16
        counts = np.zeros(1 << 16, dtype=np.int64)
        for block in range(len(times.ends) - 1):
            # The sign bit turned: then the order of the words is that of the numbers.
            words = times.read(block).view(np.uint64) ^ np.uint64(1 << 63)
            if fixed < 48:
                words = words[words >> np.uint64(fixed + 16) == np.uint64(found)]
            counts += np.bincount((words >> np.uint64(fixed)) & np.uint64(0xFFFF), minlength=1 << 16)
        before = np.cumsum(counts)
        digit = int(np.searchsorted(before, place))
        place -= int(before[digit] - counts[digit])
        found = found << 16 | digit
    return found - (1 << 63)
