"""Write the splits as Parquet that a training loader decodes fast."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from row_split import SPLITS
from row_store import RowStore, spans

GROUP_ROWS = 65_536
FILE_ROWS = 16 * GROUP_ROWS


class SplitWriter:
    """Writes tables of any length as row groups of 65,536 rows, in files of 16 groups."""

    def __init__(self, folder: Path, schema: pa.Schema) -> None:
        folder.mkdir()
        self.folder = folder
        self.schema = schema
        self.num_rows = 0
        self.num_positive = 0
        self._waiting = schema.empty_table()
        self._writer: pq.ParquetWriter | None = None

    def __enter__(self) -> SplitWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: object, trace: TracebackType | None) -> None:
        if kind is None and (len(self._waiting) or self.num_rows == 0):
            self._write_group(self._waiting)
        if self._writer is not None:
            self._writer.close()

    def add(self, table: pa.Table) -> None:
        """Take rows; whole row groups are written at once."""
        self.num_positive += int(np.count_nonzero(table["label"].to_numpy()))
        table = pa.concat_tables([self._waiting, table])
        whole = len(table) - len(table) % GROUP_ROWS
        for start in range(0, whole, GROUP_ROWS):
            self._write_group(table.slice(start, GROUP_ROWS))
        self._waiting = table.slice(whole).combine_chunks()

    def summary(self) -> dict[str, object]:
        """Return what schema.json says of the split."""
        return {"num_rows": self.num_rows, "label_rate": self.num_positive / self.num_rows if self.num_rows else None}

    def _write_group(self, table: pa.Table) -> None:
        if self.num_rows % FILE_ROWS == 0:
            if self._writer is not None:
                self._writer.close()
            path = self.folder / f"part-{self.num_rows // FILE_ROWS:05d}.parquet"
            self._writer = pq.ParquetWriter(path, self.schema, compression="lz4", use_dictionary=False)
        assert self._writer is not None, "the first group of a file opens it"
        self._writer.write_table(table, row_group_size=GROUP_ROWS)
        self.num_rows += len(table)


def write_splits(folder: Path, store: RowStore) -> dict[str, dict[str, object]]:
    """Write every row of ``store`` to its split, in row order, and return the summaries by split."""
    schema = arrow_schema(store)
    writers = [SplitWriter(folder / name, schema) for name in SPLITS]
    first_values = dict.fromkeys(store.lengths, 0)
    for start, stop in spans(store.num_rows, 4 * GROUP_ROWS):
        table = _read_table(store, schema, start, stop, first_values)
        splits = store.splits.read(start, stop)
        for number, writer in enumerate(writers):
            writer.add(_rows_of(table, splits == number))
    for writer in writers:
        with writer:
            pass
    return {name: writer.summary() for name, writer in zip(SPLITS, writers, strict=True)}
