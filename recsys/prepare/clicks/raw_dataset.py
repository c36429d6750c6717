"""What a data set must tell the preparation: its features, its files and how to parse a block of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import Keys, LongValues
from recsys.prepare.files.bad_lines import BadLine, LineReport
from recsys.prepare.files.open_table import Block
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_frames import Mask, RowChecks

Kind = Literal["dense", "categorical", "multi_valued"]


@dataclass(frozen=True)
class Feature:
    """One input column; ``pooling`` is for multi-valued ones.

    Attributes:
        transform: What becomes of a dense column's numbers once train is known: "log", "standardise", "none", or
            "bins:N", which makes it categorical. None where rows come with values that are ready to train on.
    """

    name: str
    kind: Kind
    pooling: str | None = None
    transform: str | None = None


@dataclass(frozen=True)
class Beside:
    """What rows have beside their features.

    Attributes:
        label: 0 or 1.
        weight: A finite number, at least 0.
        group: The user, or whatever metrics are averaged over.
        time: Microseconds, to split by.
        split: A split that is given.
        keys: Columns kept as they are.
    """

    label: bool = True
    weight: bool = False
    group: bool = False
    time: bool = False
    split: bool = False
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class KeyBag:
    """Multi-valued keys: ``keys`` of all rows after each other, ``lengths`` [num_rows] how many each row has."""

    keys: Keys
    lengths: NDArray[np.int32]

    def select(self, keep: Mask) -> KeyBag:
        """Return the rows where ``keep`` is true."""
        return KeyBag(self.keys[np.repeat(keep, self.lengths)], self.lengths[keep])


@dataclass(frozen=True)
class Rows:
    """Parsed rows, column by column; what ``Beside`` does not name is None.

    Attributes:
        labels: [num_rows] 0 or 1.
        dense: [num_rows] for each dense feature: float32, ready to train on, or float64 with NaN where missing.
        keys: [num_rows] for each categorical feature.
        bags: One for each multi-valued feature.
        days: [num_rows] days since some epoch, where the data set knows them.
        weights: [num_rows] float32.
        groups: [num_rows] keys.
        times: [num_rows] microseconds.
        splits: [num_rows] 0 train, 1 val, 2 test.
        kept: The key columns.
    """

    labels: NDArray[np.uint8] | None
    dense: tuple[NDArray[np.floating[Any]], ...]
    keys: tuple[Keys, ...]
    bags: tuple[KeyBag, ...] = ()
    days: NDArray[np.int32] | None = None
    weights: NDArray[np.float32] | None = None
    groups: Keys | None = None
    times: NDArray[np.int64] | None = None
    splits: NDArray[np.uint8] | None = None
    kept: pa.Table | None = None
    num_rows: int = 0

    def __len__(self) -> int:
        return self.num_rows if self.labels is None else len(self.labels)

    def select(self, keep: Mask) -> Rows:
        """Return the rows where ``keep`` is true."""
        if keep.all():
            return self

        def some(values: Any) -> Any:
            return None if values is None else values[keep]

        return Rows(
            some(self.labels),
            tuple(values[keep] for values in self.dense),
            tuple(keys[keep] for keys in self.keys),
            tuple(bag.select(keep) for bag in self.bags),
            some(self.days),
            some(self.weights),
            some(self.groups),
            some(self.times),
            some(self.splits),
            None if self.kept is None else self.kept.filter(pa.array(keep)),
            int(np.count_nonzero(keep)),
        )


def click_labels(numbers: pl.Series, checks: RowChecks) -> NDArray[np.uint8]:
    """Return a publisher's column of 0 and 1; whatever else there is, is a bad line."""
    checks.reject(numbers.name, ~numbers.is_in([0, 1]).fill_null(False), "not 0 or 1")
    return numbers.fill_null(0).to_numpy().astype(np.uint8)


@dataclass(frozen=True)
class ParsedBlock:
    """The rows of a block, its bad lines, and how many lines were left out by rule, by reason.

    Attributes:
        num_records: What the block holds, where a record may span lines; None for its lines.
    """

    rows: Rows
    bad: list[BadLine]
    dropped: Counter[str] = field(default_factory=Counter)
    num_records: int | None = None


class RawDataset(Protocol):
    """One publisher's raw files, or anybody's."""

    name: str
    features: list[Feature]
    beside: Beside
    long_values: LongValues

    @property
    def main_files(self) -> Sequence[RawFile]:
        """Return the files that have the rows, in the order in which they are read."""

    @property
    def side_files(self) -> Sequence[RawFile]:
        """Return the files read before them."""

    def read_side_files(self, report: LineReport) -> None:
        """Read what the rows refer to."""

    def blocks(self) -> Iterator[Block]:
        """Yield the rows of the main files, unparsed."""

    def parse(self, block: Any) -> ParsedBlock:
        """Parse a block; called from several threads."""
