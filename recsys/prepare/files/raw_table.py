"""A log's file as a table of its good lines: fast where Polars accepts the whole file, line by line where it does not.

CSV logs have quotes and a header, so `raw_frames`, which splits at every separator, does not fit them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.bad_lines import BadLine, BadLineError
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.sessions.log import read_file, separator_of

MAX_RECORD_LINES = 100
"""Lines that one quoted value may span; a quote still open after these is one that was never closed."""
OPEN_QUOTE = "a quote that is not closed"

Cells = list[str]


@dataclass(frozen=True)
class RawTable:
    """Good rows of a file.

    Shape:
        frame [R, columns]; rows [R], the number of each row in the file, from 1 and without the header; bad, the lines
        left out
    """

    path: Path
    frame: pl.DataFrame
    rows: NDArray[np.int64]
    bad: tuple[BadLine, ...] = ()

    @property
    def note(self) -> str:
        """What was read and left out."""
        read = f"{self.path.name}: {len(self.frame) + len(self.bad):,} rows read"
        if not self.bad:
            return read
        first = self.bad[0]
        return f"{read}, {len(self.bad):,} bad lines skipped (the first: line {first.line}, {first.reason})"


def read_table(path: Path, skip_bad: bool) -> RawTable:
    """Read a Parquet file, or a CSV file whose values all become text; a short line lacks its last values.

    Raises:
        ValueError: the file is missing, is empty or cannot be read, or, unless skip_bad, a line cannot.
    """
    if path.suffix == ".parquet" or not path.is_file():
        return _whole(path, read_file(path))
    try:
        frame = read_file(path)
    except ValueError:
        return _line_by_line(path, skip_bad)  # which says what is wrong, and where
    num_lines = sum(block.num_lines for block in RawFile(path).blocks())
    # Fewer rows than lines: a quoted value spans lines, or a quote that was never closed has swallowed some.
    return _whole(path, frame) if len(frame) == num_lines - 1 else _line_by_line(path, skip_bad)


def _whole(path: Path, frame: pl.DataFrame) -> RawTable:
    return RawTable(path, frame, np.arange(1, len(frame) + 1))


def _line_by_line(path: Path, skip_bad: bool) -> RawTable:
    header, *lines = _lines(path)
    columns = _columns(path, header)
    good: list[Cells] = []
    rows: list[int] = []
    bad: list[BadLine] = []
    for row, (line, cells) in enumerate(_records(lines, separator_of(path), len(columns)), start=1):
        if isinstance(cells, str):
            bad.append(BadLine(path.name, line, cells))
            if not skip_bad:
                raise BadLineError(
                    f"{path.name}, line {line}: {cells}. Mend the line, or pass --on-bad-line skip to leave it out."
                )
            continue
        good.append(cells + [""] * (len(columns) - len(cells)))
        rows.append(row)
    if not good:
        raise ValueError(f"'{path}' has no {'usable ' if bad else ''}rows.")
    texts = pl.DataFrame(good, schema=dict.fromkeys(columns, pl.String), orient="row")
    return RawTable(path, texts.with_columns(pl.all().replace("", None)), np.array(rows), tuple(bad))


def _lines(path: Path) -> list[bytes]:
    parts = []
    for block in RawFile(path).blocks():
        if False:
            raise ValueError(f"{block.file}, line {block.first_line}: {block.damage}.")
        parts.append(block.data)
    return b"".join(parts).split(b"\n")[:-1]


def _columns(path: Path, header: bytes) -> list[str]:
    """Names as Polars gives them."""
    try:
        return pl.read_csv(header, separator=separator_of(path), infer_schema=False).columns
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"{path.name}, line 1: {str(error).splitlines()[0]}. Mend the names of the columns."
        ) from error


def _records(lines: list[bytes], separator: str, num_columns: int) -> Iterator[tuple[int, Cells | str]]:
    """Number of each record's first line in the file, with its values, or with what is wrong with that line."""
    place = 0
    while place < len(lines):
        cells, num_lines = _record(lines[place : place + MAX_RECORD_LINES], separator, num_columns)
        yield place + 2, cells
        place += num_lines


def _record(lines: list[bytes], separator: str, num_columns: int) -> tuple[Cells | str, int]:
    """Values of the first record, or what is wrong with its first line, and how many lines that takes."""
    reader = csv.reader((line.decode() + "\n" for line in lines), delimiter=separator, strict=True)
    try:
        cells = next(reader)
    except UnicodeDecodeError as error:
        if reader.line_num > 0:
            return OPEN_QUOTE, 1
        return f"byte 0x{error.object[error.start]:02x} at byte {error.start + 1} is not valid utf-8", 1
    except csv.Error as error:
        is_open = reader.line_num > 1 or "unexpected end of data" in str(error)
        return OPEN_QUOTE if is_open else str(error), 1
    if len(cells) > num_columns:
        return f"expected {num_columns} columns separated by {separator!r}, found {len(cells)}", 1
    return cells, reader.line_num
