"""A Parquet or Arrow file, batch by batch, with the types it has."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_frames import LineFrame
from recsys.prepare.files.text_table import ParsedTable, check_header
from recsys.prepare.files.unreadable import UNREADABLE, why_unreadable

BATCH_ROWS = 131_072
PARQUET_MAGIC, ARROW_MAGIC = b"PAR1", b"ARROW1"


def is_readable(kind: pa.DataType) -> bool:
    """Whether Polars takes values of a type; what it does not, it ends the program with."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_readable(kind.storage_type)
    if pa.types.is_dictionary(kind):
        return is_readable(kind.value_type)
    # Children, if it is nested; a map's are a struct of key and value.
    inner = [kind.field(place).type for place in range(kind.num_fields)]
    odd = (
        pa.types.is_union(kind)
        or pa.types.is_run_end_encoded(kind)
        or pa.types.is_interval(kind)
        or pa.types.is_decimal256(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )
    return not odd and all(map(is_readable, inner))


def _stored(batch: pa.RecordBatch) -> pa.RecordBatch:
    """Columns of extension types (a UUID, a text of JSON) as what they are stored as, which has texts or numbers."""
    columns = [each.storage if isinstance(each.type, pa.BaseExtensionType) else each for each in batch.columns]
    return pa.RecordBatch.from_arrays(columns, batch.schema.names)


@dataclass(frozen=True)
class ArrowBlock:
    """Rows of one file, the first of them ``first_line`` counted from 1."""

    file: str
    first_line: int
    batch: pa.RecordBatch

    @property
    def num_lines(self) -> int:
        """Rows."""
        return len(self.batch)


class ArrowTable:
    """One file; its only bad rows are those whose values do not suit.

    Attributes:
        file: What is read.
        columns: Names.
    """

    def __init__(self, file: RawFile, missing: tuple[str, ...] = ()) -> None:
        """Read what the columns are.

        Raises:
            ValueError: The file is damaged or of another kind, or names a column twice.
        """
        self.file = file
        self._missing = missing
        with file.path.open("rb") as stream:
            self._is_parquet = stream.read(4) == PARQUET_MAGIC
        try:
            schema = (
                pq.read_schema(file.path)
                if self._is_parquet
                else pa.ipc.open_file(pa.memory_map(str(file.path))).schema
            )
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        self._types = {field.name: field.type for field in schema}
        self.columns = tuple(schema.names)
        check_header(self.columns, file.name)
        self._needed = list(self.columns)

    def only(self, columns: Sequence[str]) -> None:
        """Read no others than these columns."""
        self._needed = list(columns)

    def blocks(self) -> Iterator[ArrowBlock]:
        """Yield batches of rows, at most 131,072 each.

        Raises:
            ValueError: A column has a type that nothing here reads, or the file is damaged or has no rows.
        """
        for name in self._needed:
            if not is_readable(self._types[name]):
                raise ValueError(
                    f"{self.file.name}: column '{name}' is of type {self._types[name]}, which is not read; "
                    "write it as texts or numbers."
                )
        row = 1
        try:
            for batch in self._parquet_batches() if self._is_parquet else self._arrow_batches():
                if len(batch):
                    yield ArrowBlock(self.file.name, row, batch)
                    row += len(batch)
        except UNREADABLE as error:
            raise self._unreadable(error) from error
        if row == 1:
            raise ValueError(f"{self.file.name} has no rows.")
        with self.file.path.open("rb") as stream:
            self.file.sha256 = hashlib.file_digest(stream, "sha256").hexdigest()
        self.file.num_bytes = self.file.path.stat().st_size

    def _parquet_batches(self) -> Iterator[pa.RecordBatch]:
        with pq.ParquetFile(self.file.path, memory_map=True, page_checksum_verification=True) as file:
            num_bytes = self.file.path.stat().st_size
            for batch in file.iter_batches(BATCH_ROWS, columns=self._needed, use_threads=False):
                self.file.on_bytes(num_bytes * len(batch) // max(1, file.metadata.num_rows))
                yield batch

    def _arrow_batches(self) -> Iterator[pa.RecordBatch]:
        file = pa.ipc.open_file(pa.memory_map(str(self.file.path)))
        num_bytes = self.file.path.stat().st_size
        for number in range(file.num_record_batches):
            batch = file.get_batch(number).select(self._needed)
            self.file.on_bytes(num_bytes // file.num_record_batches)
            for start in range(0, len(batch), BATCH_ROWS):
                yield batch.slice(start, BATCH_ROWS)

    def _unreadable(self, error: Exception) -> ValueError:
        kind = "Parquet" if self._is_parquet else "Arrow"
        return ValueError(f"'{self.file.path}' is not a readable {kind} file, {why_unreadable(error)}.")

    def parse(self, block: ArrowBlock) -> ParsedTable:
        """Turn a batch into a frame; categories become texts.

        Raises:
            ValueError: A column is of a type, as of times in a zone that nobody knows, whose values have no meaning.
        """
        try:
            frame = pl.DataFrame(pl.from_arrow(_stored(block.batch), rechunk=True))
        except pl.exceptions.PolarsError as error:
            raise ValueError(f"{block.file}: a column has no type that is read ({first_line(error)}).") from error
        coded = [name for name, kind in frame.schema.items() if isinstance(kind, pl.Categorical | pl.Enum)]
        frame = frame.with_columns(pl.col(coded).cast(pl.String))
        texts = [name for name, kind in frame.schema.items() if kind == pl.String]
        for word in ("", *self._missing):
            frame = frame.with_columns(pl.when(pl.col(texts) != word).then(pl.col(texts)).name.keep())
        lines = np.arange(block.first_line, block.first_line + len(frame))
        return ParsedTable(LineFrame(block.file, frame, lines), [])
