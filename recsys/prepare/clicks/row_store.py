"""Scratch arrays on disk, one file per column, so that rows are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_dataset import Beside, Feature, Rows
from recsys.prepare.clicks.raw_keys import KeyCodes, Keys

Scalar = TypeVar("Scalar", bound=np.generic)


class ArrayFile(Generic[Scalar]):
    """A one-dimensional array in a file: appended to in blocks of any length, read back by block."""

    def __init__(self, path: Path, scalar: type[Scalar]) -> None:
        self.path = path
        self.dtype = np.dtype(scalar)
        self.ends = [0]

    def append(self, values: NDArray[Any]) -> None:
        """Write ``values`` as the next block."""
        # Opened each time: a wide table has more columns than a process may have files.
        with self.path.open("ab", buffering=0) as stream:
            left = np.ascontiguousarray(values, dtype=self.dtype).data.cast("B")
            while len(left):
                left = left[stream.write(left) :]
        self.ends.append(self.ends[-1] + len(values))

    def read(self, block: int) -> NDArray[Scalar]:
        """Return the values of a block, in memory of their own."""
        start, stop = self.ends[block : block + 2]
        if start == stop:
            return np.empty(0, self.dtype)
        return np.fromfile(self.path, self.dtype, stop - start, offset=start * self.dtype.itemsize)

    def __len__(self) -> int:
        return self.ends[-1]


class KeptColumns:
    """Columns kept as they are, a file of Arrow a block."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._num_blocks = 0
        self._types: dict[str, pa.DataType] = {}

    def append(self, table: pa.Table) -> None:
        """Write the next block."""
        for field in table.schema:
            known = self._types.setdefault(field.name, field.type)
            # What files do not hold as one type is kept as text.
            self._types[field.name] = known if field.type == known else pa.large_string()
        path = self._folder / str(self._num_blocks)
        with pa.OSFile(str(path), "wb") as stream, pa.ipc.new_file(stream, table.schema) as writer:
            writer.write_table(table)
        self._num_blocks += 1

    @property
    def schema(self) -> pa.Schema:
        """Types that suit all blocks."""
        return pa.schema(list(self._types.items()))

    def read(self, block: int) -> pa.Table:
        """Return the columns of a block."""
        with pa.OSFile(str(self._folder / str(block))) as stream:
            return pa.ipc.open_file(stream).read_all().cast(self.schema)


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

    def longest(self) -> int | None:
        """Values of the row that has most; None where every row has one."""
        if self.lengths is None:
            return None
        return max((int(self.lengths.read(block).max(initial=0)) for block in range(self.num_blocks)), default=0)

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
        ends: Rows up to the end of each block, from 0.
        labels: Labels, one per row; None without.
        splits: Split of each row, filled after reading unless it is given.
        days: Day of each row; empty where unknown.
        weights: None without; so the next three.
        group: Keys of groups.
        times: Microseconds.
        kept: Key columns.
        dense: Values by feature name.
        coded: Categorical and multi-valued columns by feature name.
    """

    def __init__(self, folder: Path, features: list[Feature], beside: Beside | None = None) -> None:
        folder.mkdir()
        own = folder / ".beside"
        own.mkdir()
        beside = beside or Beside()
        self.ends = [0]
        self.labels = ArrayFile(own / "label", np.uint8) if beside.label else None
        self.splits = ArrayFile(own / "split", np.uint8)
        self.days = ArrayFile(own / "day", np.int32)
        self.weights = ArrayFile(own / "weight", np.float32) if beside.weight else None
        self.group = CodedColumn(own, "group", multi_valued=False) if beside.group else None
        self.times = ArrayFile(own / "time", np.int64) if beside.time else None
        self.kept = KeptColumns(own / "kept") if beside.keys else None
        self.dense: dict[str, ArrayFile[Any]] = {
            feature.name: ArrayFile(folder / f"{feature.name}.dense", np.float64 if feature.transform else np.float32)
            for feature in features
            if feature.kind == "dense"
        }
        self.coded = {
            f.name: CodedColumn(folder, f.name, f.kind == "multi_valued") for f in features if f.kind != "dense"
        }

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return self.ends[-1]

    @property
    def num_blocks(self) -> int:
        """Blocks so far."""
        return len(self.ends) - 1

    def append(self, rows: Rows, coded: list[KeyCodes], group: KeyCodes | None = None) -> None:
        """Add rows; ``coded`` are their keys and then their bags' keys, feature by feature; ``group`` their groups."""
        self.ends.append(self.ends[-1] + len(rows))
        for file, values in zip(self.dense.values(), rows.dense, strict=True):
            file.append(values)
        single = [column for column in self.coded.values() if column.lengths is None]
        multi_valued = [column for column in self.coded.values() if column.lengths is not None]
        for column, codes in zip([*single, *multi_valued], coded, strict=True):
            column.append(codes)
        for column, bag in zip(multi_valued, rows.bags, strict=True):
            assert column.lengths is not None
            column.lengths.append(bag.lengths)
        if self.group is not None:
            assert group is not None
            self.group.append(group)
        if self.kept is not None:
            self.kept.append(rows.kept)
        pairs: tuple[tuple[ArrayFile[Any] | None, NDArray[Any] | None], ...] = (
            *((self.labels, rows.labels), (self.weights, rows.weights), (self.times, rows.times)),
            *((self.splits, rows.splits), (self.days, rows.days)),
        )
        for place, column_values in pairs:
            if place is not None and column_values is not None:
                place.append(column_values)
