"""Event logs as one frame of users, items and times, whatever file they come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import polars as pl
from numpy.typing import NDArray

Kind = Literal["categorical", "multi_valued", "dense", "bins", "text", "vector"]
KINDS: tuple[Kind, ...] = get_args(Kind)

MOST_BINS = 100_000
Vectors = tuple[pl.Series, NDArray[np.float32]]
"""Items [M], and a vector [M, T] of each."""


@dataclass(frozen=True)
class ItemColumn:
    """One column of item metadata.

    Args:
        name: of the column.
        kind: one value (categorical), a list of values (multi_valued), a number (dense), a number whose place among
            all items' numbers makes it one of `num_bins` values (bins), words (text), or a list of numbers that is not
            trained (vector).
        num_bins: of a column of bins.

    Raises:
        ValueError: if num_bins is below 2 or above 100,000.
    """

    name: str
    kind: Kind
    num_bins: int = 10

    def __post_init__(self) -> None:
        """Refuse a number out of range."""
        if self.num_bins < 2:
            raise ValueError(f"item column '{self.name}': bins must be at least 2, got {self.num_bins}.")
        if self.num_bins > MOST_BINS:
            raise ValueError(f"item column '{self.name}': bins must be at most {MOST_BINS:,}, got {self.num_bins}.")


@dataclass(frozen=True)
class EventLog:
    """Events in stored order, and what is known of their items.

    Attributes:
        name: of the data set.
        events: columns user and item, time (Int64 microseconds) where known, split (String, "train", "val" or
            "test") where one is given.
        metadata: column item, one row per item, and those of `columns`; None without metadata.
        columns: the metadata to keep.
        vectors: matrices by name.
        texts: columns item and text; None without.
        notes: what was done to the raw data, for the report.
    """

    name: str
    events: pl.DataFrame
    metadata: pl.DataFrame | None = None
    columns: tuple[ItemColumn, ...] = ()
    vectors: Mapping[str, Vectors] = field(default_factory=dict)
    texts: pl.DataFrame | None = None
    notes: tuple[str, ...] = ()


def event_counts(events: pl.DataFrame) -> tuple[int, int, int]:
    """Users, items and events."""
    return events["user"].n_unique(), events["item"].n_unique(), len(events)


def exploded(sequences: pl.DataFrame, columns: Mapping[str, str]) -> pl.DataFrame:
    """One row per event from one row per sequence; `columns` maps names of the file to those of a log."""
    lists = [name for name, kind in sequences.schema.items() if isinstance(kind, pl.List) and name in columns]
    return sequences.select(list(columns)).explode(lists).rename(dict(columns))


def read_file(path: Path) -> pl.DataFrame:
    """A Parquet file.

    Raises:
        ValueError: the file is missing, is empty or cannot be parsed.
    """
    if not path.is_file():
        raise ValueError(f"'{path}' does not exist.")
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"'{path}' cannot be read: {str(error).splitlines()[0]}") from error
    if not len(frame):
        raise ValueError(f"'{path}' has no rows.")
    return frame
