"""The Parquet files of one split, read one row group at a time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.data.checks import (
    Place,
    check_float32,
    check_groups,
    check_ids,
    check_labels,
    check_not_null,
    check_types,
    check_weights,
)
from recsys.data.schema import Column, Schema, prepare_command
from recsys.prepare.files.fingerprints import of_split
from recsys.prepare.files.unreadable import UNREADABLE, why_unreadable

T = TypeVar("T")
Array = NDArray[Any]


@dataclass(frozen=True)
class RowGroup:
    """The checked columns of one row group, as stored, most of them views of Arrow's memory.

    Shape:
        ids F arrays [n]; dense num_dense arrays [n]; labels, weights and groups [n], or None;
        lists: values [N] and lengths [n] of each multi-valued column; keys n rows, or None.

    Attributes:
        first_row: how many rows of the split lie before it.
    """

    num_rows: int
    first_row: int
    ids: list[Array]
    dense: list[Array]
    labels: Array | None
    lists: dict[str, tuple[Array, Array]]
    weights: Array | None = None
    groups: Array | None = None
    keys: pa.Table | None = None


@dataclass(frozen=True)
class _Address:
    """Where a row group is: file, place in the file, and the file's row it begins at."""

    path: Path
    metadata: pq.FileMetaData
    number: int
    first_row: int


class ParquetSplit:
    """All row groups of PATH/SPLIT/*.parquet, in file name order.

    Reads no rows until asked; reads the files' footers and checks their columns and row counts at once.

    Args:
        schema: what the folder says it holds.
        split: "train", "val" or "test".
        with_keys: whether the key columns are read.

    Raises:
        ValueError: if the split is empty, a file is not readable, a column is missing or of a wrong type, or the
            number of rows is not the schema's.
    """

    def __init__(self, schema: Schema, split: str, with_keys: bool = False) -> None:
        self.schema = schema
        self._keys = list(schema.keys) if with_keys else []
        self.folder = schema.path / split
        self._addresses: list[_Address] = []
        for path in sorted(self.folder.glob("*.parquet")):
            self._add(path)
        self.group_rows = [each.metadata.row_group(each.number).num_rows for each in self._addresses]
        self._first_rows = [0, *accumulate(self.group_rows)]
        self.num_rows = self._first_rows[-1]
        self._check_num_rows(split)

    @cached_property
    def checksum(self) -> str:
        """Of the files: a position among other rows means nothing."""
        return of_split(self.folder)

    def read(self, group: int) -> RowGroup:
        """The rows of one row group.

        Raises:
            ValueError: naming file, row and column of the first id outside [0, num_embeddings), label other than
                0 and 1, number that is not finite, or null; or the file, if it is damaged.
        """
        at = self._addresses[group]
        schema, names = self.schema, [*self.schema.stored, *self._keys]
        table = _readable(
            at.path, lambda: _open(at.path, at.metadata).read_row_group(at.number, names, use_threads=False)
        )
        stored = {name: (_array(table.column(name)), Place(at.path, at.first_row, name)) for name in schema.stored}
        return RowGroup(
            num_rows=len(table),
            first_row=self._first_rows[group],
            ids=[_ids(column, *stored[column.name]) for column in schema.categorical],
            dense=[_dense(*stored[name]) for name in schema.dense],
            labels=None if schema.label is None else _labels(*stored[schema.label]),
            lists={column.name: _lists(column, *stored[column.name]) for column in schema.multi_valued},
            weights=None if schema.weight is None else _weights(*stored[schema.weight]),
            groups=None if schema.group is None else _groups(*stored[schema.group]),
            keys=table.select(self._keys) if self._keys else None,
        )

    def _add(self, path: Path) -> None:
        with _readable(path, lambda: _open(path)) as file:
            check_types(path, file.schema_arrow, self.schema)
            first_row = 0
            for number in range(file.num_row_groups):
                num_rows = file.metadata.row_group(number).num_rows
                if num_rows:
                    self._addresses.append(_Address(path, file.metadata, number, first_row))
                first_row += num_rows

    def _check_num_rows(self, split: str) -> None:
        if split not in self.schema.splits:
            have = ", ".join(self.schema.splits)
            raise ValueError(f"'{self.schema.path}' has no split {split} (it has: {have}); prepare one that does.")
        promised = self.schema.splits[split].num_rows
        if promised == self.num_rows == 0:
            raise ValueError(
                f"'{self.schema.path}' has no rows in {split}: it was prepared without any; prepare it with rows for "
                f"{split}, by --fractions for one."
            )
        if self.num_rows == 0 or self.num_rows != promised:
            raise ValueError(
                f"'{self.folder}' holds {self.num_rows} rows and schema.json promises {promised}; "
                f"make the folder again with\n  {prepare_command(self.schema.path)}"
            )


def _open(path: Path, metadata: pq.FileMetaData | None = None) -> pq.ParquetFile:
    return pq.ParquetFile(path, metadata=metadata, memory_map=True)


def _readable(path: Path, read: Callable[[], T]) -> T:
    try:
        return read()
    except UNREADABLE as error:
        raise ValueError(f"{path}: not a readable Parquet file, {why_unreadable(error)}.") from error


def _array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _ids(column: Column, array: pa.Array, place: Place) -> Array:
    check_not_null(array, place)
    values: Array = array.to_numpy()
    check_ids(values, column, place)
    return values


def _dense(array: pa.Array, place: Place) -> Array:
    check_not_null(array, place)
    return check_float32(array.to_numpy(), place)


def _weights(array: pa.Array, place: Place) -> Array:
    check_not_null(array, place)
    check_weights(array.to_numpy(), place)
    return check_float32(array.to_numpy(), place)


def _groups(array: pa.Array, place: Place) -> Array:
    check_not_null(array, place)
    values: Array = array.to_numpy()
    check_groups(values, place)
    return values


def _labels(array: pa.Array, place: Place) -> Array:
    check_not_null(array, place)
    values: Array = array.to_numpy()
    check_labels(values, place)
    return values


def _lists(column: Column, array: pa.Array, place: Place) -> tuple[Array, Array]:
    check_not_null(array, place)
    offsets = array.offsets.to_numpy() - array.offsets[0].as_py()
    flat = array.flatten()
    if flat.null_count:
        at = np.flatnonzero(flat.is_null())[0]
        place.refuse(int(np.searchsorted(offsets, at, side="right")) - 1, "an id of the list is null")
    values = flat.to_numpy()
    check_ids(values, column, place, offsets)
    return values, np.diff(offsets)
