"""What a publisher's data set must tell the preparation: its features, its main file and how to parse a block of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import Keys, LongValues
from recsys.prepare.files.bad_lines import BadLine, LineReport
from recsys.prepare.files.raw_files import RawBlock, RawFile
from recsys.prepare.files.raw_frames import Mask

Kind = Literal["dense", "categorical", "multi_valued"]


@dataclass(frozen=True)
class Feature:
    """One input column; ``pooling`` is for multi-valued ones."""

    name: str
    kind: Kind
    pooling: str | None = None


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
    """Parsed rows, column by column.

    Attributes:
        labels: [num_rows] 0 or 1.
        dense: [num_rows] float32 for each dense feature, ready to train on.
        keys: [num_rows] for each categorical feature.
        bags: One for each multi-valued feature.
        days: [num_rows] days since some epoch, where the data set knows them.
    """

    labels: NDArray[np.uint8]
    dense: tuple[NDArray[np.float32], ...]
    keys: tuple[Keys, ...]
    bags: tuple[KeyBag, ...] = ()
    days: NDArray[np.int32] | None = None

    def select(self, keep: Mask) -> Rows:
        """Return the rows where ``keep`` is true."""
        if keep.all():
            return self
        return Rows(
            self.labels[keep],
            tuple(values[keep] for values in self.dense),
            tuple(keys[keep] for keys in self.keys),
            tuple(bag.select(keep) for bag in self.bags),
            None if self.days is None else self.days[keep],
        )


@dataclass(frozen=True)
class ParsedBlock:
    """The rows of a block, its bad lines, and how many lines were left out by rule, by reason."""

    rows: Rows
    bad: list[BadLine]
    dropped: Counter[str] = field(default_factory=Counter)


class RawDataset(Protocol):
    """One publisher's raw files."""

    name: str
    features: list[Feature]
    long_values: LongValues

    @property
    def main_file(self) -> RawFile:
        """Return the file that has the rows."""

    @property
    def side_files(self) -> list[RawFile]:
        """Return the files read before it."""

    def read_side_files(self, report: LineReport) -> None:
        """Read what the rows refer to."""

    def parse(self, block: RawBlock) -> ParsedBlock:
        """Parse whole lines of the main file; called from several threads."""
