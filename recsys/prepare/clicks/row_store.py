"""Scratch arrays on disk, one file per column, so that rows are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_dataset import Feature, Rows
from recsys.prepare.clicks.raw_keys import KeyCodes, Keys

Scalar = TypeVar("Scalar", bound=np.generic)


class ArrayFile(Generic[Scalar]):
    """A one-dimensional array in a file: appended to in blocks of any length, read back by block."""

    def __init__(self, path: Path, scalar: type[Scalar]) -> None:
        self.path = path
        self.dtype = np.dtype(scalar)
        self.ends = [0]
        self._stream = path.open("wb", buffering=0)

    def append(self, values: NDArray[Any]) -> None:
        """Write ``values`` as the next block."""
        self._stream.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.ends.append(self.ends[-1] + len(values))

    def read(self, block: int) -> NDArray[Scalar]:
        """Return the values of a block, in memory of their own."""
        start, stop = self.ends[block : block + 2]
        return np.fromfile(self.path, self.dtype, stop - start, offset=start * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.ends[-1]


class CodedColumn:
    """A categorical or multi-valued column: each block has its own dictionary of keys.

    Attributes:
        codes: Places in the block's dictionary.
        dictionary: Distinct keys of the block.
        ids: Id of each key of the dictionary, filled when the column is encoded.
        lengths: Values per row, only if multi-valued.
    """

    def __init__(self, folder: Path, name: str, multi_valued: bool) -> None:
        self.codes = ArrayFile(folder / f"{name}.codes", np.int32)
        self.dictionary = ArrayFile(folder / f"{name}.dictionary", np.uint64)
        self.ids = ArrayFile(folder / f"{name}.ids", np.int32)
        self.lengths = ArrayFile(folder / f"{name}.lengths", np.int32) if multi_valued else None

    @property
    def num_blocks(self) -> int:
        """Blocks appended."""
        return len(self.codes.ends) - 1

    def append(self, coded: KeyCodes) -> None:
        """Write the next block."""
        self.codes.append(coded.codes)
        self.dictionary.append(coded.dictionary)

    def read_ids(self, block: int) -> NDArray[np.int32]:
        """Return the id of every value of a block."""
        return self.ids.read(block)[self.codes.read(block)]

    def dictionaries(self, num_keys: int) -> Iterator[tuple[range, Keys]]:
        """Yield the dictionaries of consecutive blocks as one array, each time of about ``num_keys`` keys or more."""
        first, waiting = 0, []
        for block in range(self.num_blocks):
            waiting.append(self.dictionary.read(block))
            if block + 1 == self.num_blocks or sum(map(len, waiting)) >= num_keys:
                yield range(first, block + 1), np.concatenate(waiting)
                first, waiting = block + 1, []


class RowStore:
    """Every column of the kept rows, in blocks.

    Attributes:
        labels: Labels, one per row.
        splits: Split of each row, filled after reading.
        days: Day of each row; empty where unknown.
        dense: Values by feature name.
        coded: Categorical and multi-valued columns by feature name.
    """

    def __init__(self, folder: Path, features: list[Feature]) -> None:
        folder.mkdir()
        self.labels = ArrayFile(folder / "label", np.uint8)
        self.splits = ArrayFile(folder / "split", np.uint8)
        self.days = ArrayFile(folder / "day", np.int32)
        self.dense = {f.name: ArrayFile(folder / f"{f.name}.dense", np.float32) for f in features if f.kind == "dense"}
        self.coded = {
            f.name: CodedColumn(folder, f.name, f.kind == "multi_valued") for f in features if f.kind != "dense"
        }

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return len(self.labels)

    @property
    def num_blocks(self) -> int:
        """Blocks so far."""
        return len(self.labels.ends) - 1

    def append(self, rows: Rows, coded: list[KeyCodes]) -> None:
        """Add rows; ``coded`` are their keys and then their bags' keys, feature by feature."""
        self.labels.append(rows.labels)
        for file, values in zip(self.dense.values(), rows.dense, strict=True):
            file.append(values)
        for column, codes in zip(self.coded.values(), coded, strict=True):
            column.append(codes)
        multi_valued = [column.lengths for column in self.coded.values() if column.lengths is not None]
        for lengths, bag in zip(multi_valued, rows.bags, strict=True):
            lengths.append(bag.lengths)
        if rows.days is not None:
            self.days.append(rows.days)
