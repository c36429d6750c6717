"""Scratch arrays on disk, one file per column, so that rows are never all in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import DTypeLike, NDArray
from raw_dataset import Feature, KeyBag, Rows

CHUNK_ROWS = 1 << 21


class ArrayFile:
    """A one-dimensional array in a file: appended to in blocks, read back in slices."""

    def __init__(self, path: Path, dtype: DTypeLike) -> None:
        self.path = path
        self.dtype = np.dtype(dtype)
        self.length = 0
        self._stream = path.open("wb", buffering=0)

    def append(self, values: NDArray[np.generic]) -> None:
        """Write ``values`` at the end."""
        self._stream.write(np.ascontiguousarray(values, dtype=self.dtype).data)
        self.length += len(values)

    def read(self, start: int, stop: int) -> NDArray[np.generic]:
        """Return the values from ``start`` up to ``stop``, in memory of their own."""
        return np.fromfile(self.path, self.dtype, stop - start, offset=start * self.dtype.itemsize)

    def remove(self) -> None:
        """Delete the file."""
        self._stream.close()
        self.path.unlink()


def spans(num_rows: int, step: int = CHUNK_ROWS) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) over ``num_rows`` rows, ``step`` at a time."""
    for start in range(0, num_rows, step):
        yield start, min(start + step, num_rows)


class RowStore:
    """Every column of the kept rows.

    Attributes:
        labels: Labels, one per row.
        splits: Split of each row, filled after reading.
        days: Day of each row, empty where unknown.
        dense: Values by feature name.
        keys: Categorical keys by feature name (multi-valued: of all rows after each other).
        ids: What ``keys`` become, filled feature by feature.
        lengths: Keys per row, by name of the multi-valued feature.
    """

    def __init__(self, folder: Path, features: list[Feature]) -> None:
        folder.mkdir()
        by_kind = {kind: [f.name for f in features if f.kind == kind] for kind in ("dense", "categorical", "multi_valued")}
        coded = by_kind["categorical"] + by_kind["multi_valued"]
        self.labels = ArrayFile(folder / "label", np.uint8)
        self.splits = ArrayFile(folder / "split", np.uint8)
        self.days = ArrayFile(folder / "day", np.int32)
        self.dense = {name: ArrayFile(folder / f"{name}.dense", np.float32) for name in by_kind["dense"]}
        self.keys = {name: ArrayFile(folder / f"{name}.keys", np.uint64) for name in coded}
        self.ids = {name: ArrayFile(folder / f"{name}.ids", np.int32) for name in coded}
        self.lengths = {name: ArrayFile(folder / f"{name}.lengths", np.int32) for name in by_kind["multi_valued"]}

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return self.labels.length

    def append(self, rows: Rows) -> None:
        """Add rows at the end of every column."""
        self.labels.append(rows.labels)
        for file, dense in zip(self.dense.values(), rows.dense, strict=True):
            file.append(dense)
        single_valued = [file for name, file in self.keys.items() if name not in self.lengths]
        for file, keys in zip(single_valued, rows.keys, strict=True):
            file.append(keys)
        for name, bag in zip(self.lengths, rows.bags, strict=True):
            self._append_bag(name, bag)
        if rows.days is not None:
            self.days.append(rows.days)

    def _append_bag(self, name: str, bag: KeyBag) -> None:
        self.keys[name].append(bag.keys)
        self.lengths[name].append(bag.lengths)
