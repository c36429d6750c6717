"""From a log to sequences: time order, sessions cut by gaps, and cores."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.prepare.files.event_times import MICROSECONDS
from recsys.prepare.sessions.splits import Flat


@dataclass(frozen=True)
class FilterRule:
    """What becomes of a log before it is split.

    Args:
        gap_minutes: a user's events further apart than this belong to two sessions; None keeps users whole.
        min_item_count: events an item must have.
        min_length: events a sequence must have. Both are applied in turn until nothing changes.

    Raises:
        ValueError: a number is too small.
    """

    gap_minutes: float | None = None
    min_item_count: int = 1
    min_length: int = 1

    def __post_init__(self) -> None:
        """Refuse numbers that mean nothing."""
        if self.gap_minutes is not None and not 0 < self.gap_minutes < float("inf"):
            raise ValueError(f"--gap-minutes must be above 0 and finite, got {self.gap_minutes}.")
        for option, value in (("min-item-count", self.min_item_count), ("min-length", self.min_length)):
            if value < 1:
                raise ValueError(f"--{option} must be at least 1, got {value}.")

    def apply(self, events: pl.DataFrame) -> pl.DataFrame:
        """Events sorted by sequence and time, with a column `sequence`.

        Sequences keep the order of their first events in the log; events of one time keep theirs, so a tie never
        changes what is held out.

        Raises:
            ValueError: gap_minutes without times, or nothing is left.
        """
        events = _numbered(events, "user", "sequence")
        order = ["sequence", "time"] if "time" in events.columns else ["sequence"]
        events = events.sort(order, maintain_order=True)
        if self.gap_minutes is not None:
            events = _cut(events, self.gap_minutes)
        events = self._core(events)
        if not len(events):
            raise ValueError(
                f"no event is left with --min-item-count {self.min_item_count} --min-length {self.min_length}."
            )
        return _numbered(events, "sequence", "sequence")

    def _core(self, events: pl.DataFrame) -> pl.DataFrame:
        while True:
            frequent = pl.len().over("item") >= self.min_item_count
            kept = events.filter(frequent).filter(pl.len().over("sequence") >= self.min_length)
            if len(kept) == len(events):
                return kept
            events = kept


def flat(events: pl.DataFrame) -> Flat:
    """The arrays of sorted events that a split needs.

    Raises:
        ValueError: a given split puts an earlier event of a sequence after a later one.
    """
    sequence = events["sequence"].to_numpy()
    offsets = np.searchsorted(sequence, np.arange(sequence[-1] + 2))
    times = events["time"].to_numpy() if "time" in events.columns else None
    if "split" not in events.columns:
        return Flat(offsets, times)
    period = events["split"].replace_strict({"train": 0, "val": 1, "test": 2}, return_dtype=pl.Int64).to_numpy()
    falls = (np.diff(period) < 0) & (np.diff(sequence) == 0)
    if falls.any():
        user = events["user"][int(falls.argmax())]
        raise ValueError(
            f"--split given: '{user}' has an event of an earlier split after one of a later; train comes before val, "
            "and val before test."
        )
    return Flat(offsets, times, period)


def _numbered(events: pl.DataFrame, column: str, name: str) -> pl.DataFrame:
    """Number the values of a column from 0, in order of first appearance."""
    numbers = events.select(pl.col(column)).unique(maintain_order=True).with_row_index("number")
    joined = events.join(numbers, on=column, how="left", maintain_order="left")
    return joined.with_columns(pl.col("number").cast(pl.Int64).alias(name)).drop("number")


def _cut(events: pl.DataFrame, gap_minutes: float) -> pl.DataFrame:
    """Begin another sequence wherever a user's next event is more than gap_minutes later."""
    if "time" not in events.columns:
        raise ValueError("--gap-minutes needs times; give --time.")
    user, times = events["sequence"].to_numpy(), events["time"].to_numpy()
    begins = (np.diff(user, prepend=-1) != 0) | (np.diff(times, prepend=times[:1]) > gap_minutes * MICROSECONDS["min"])
    return events.with_columns(sequence=pl.Series(np.cumsum(begins) - 1))
