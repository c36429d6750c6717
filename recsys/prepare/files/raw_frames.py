"""Parse blocks of lines into frames, fast where all lines are good, exactly where one is not.

A cheap check of the bytes (as many separators as the lines need, valid text) and Polars' strict CSV reader together
accept a block only if every line is good. A block they refuse is taken apart line by line, to learn which lines are bad
and why; the others go on.

Engine, in seconds of processor time per million Criteo rows (``benchmarks/data_preparation.py --engines``): parsing
takes Polars 1.06, PyArrow 1.16. Numbering the 26 categories as strings takes Polars' categoricals .94, PyArrow's
dictionaries .64; as 64-bit keys (``raw_keys``, .2 to make) Polars' group_by and join 1.25, PyArrow's dictionaries .33.
So Polars parses, and PyArrow makes dictionaries of keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.bad_lines import BadLine
from recsys.prepare.files.raw_files import RawBlock, count_byte
from recsys.prepare.files.separators import in_words

Mask = NDArray[np.bool_]
INNER_SEPARATOR = b"\x1f"


@dataclass(frozen=True)
class Layout:
    """How the lines of a raw file look; columns not in ``numbers`` are text."""

    separator: bytes
    columns: tuple[str, ...]
    numbers: frozenset[str] = frozenset()
    encoding: str = "utf-8"

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """Column types."""
        return {name: pl.Int64() if name in self.numbers else pl.String() for name in self.columns}


@dataclass(frozen=True)
class LineFrame:
    """Good lines: ``frame`` has one row per line (null where a field is empty), ``lines`` its number in ``file``."""

    file: str
    frame: pl.DataFrame
    lines: NDArray[np.int64]


class RowChecks:
    """Collects the first reason why each row cannot be used."""

    def __init__(self, rows: LineFrame) -> None:
        self.rows = rows
        self._reasons: dict[int, str] = {}

    def reject(self, column: str, bad: pl.Series | Mask, complaint: str) -> None:
        """Mark the rows where ``bad`` is true; the message shows the column's name and the field."""
        for row in np.flatnonzero(np.asarray(bad)).tolist():
            self._reasons.setdefault(row, field_complaint(column, self.rows.frame[column][row], complaint))

    def keep(self) -> Mask:
        """Return [num_rows] true where a row is usable."""
        keep = np.ones(len(self.rows.lines), dtype=np.bool_)
        keep[list(self._reasons)] = False
        return keep

    def bad_lines(self) -> list[BadLine]:
        """Return the rejected rows."""
        lines = self.rows.lines
        return [BadLine(self.rows.file, int(lines[row]), reason) for row, reason in self._reasons.items()]


def field_complaint(column: str, value: object, complaint: str) -> str:
    """Return the reason for a bad field, which is shown shortened."""
    text = "" if value is None else str(value)
    return f"column '{column}' holds '{text if len(text) <= 40 else text[:37] + '...'}', {complaint}"


def read_frame(block: RawBlock, layout: Layout) -> tuple[LineFrame, list[BadLine]]:
    """Return the good lines of a block, and its bad lines."""
    data, separator = block.data, layout.separator
    if len(separator) > 1:
        data, separator = data.replace(separator, INNER_SEPARATOR), INNER_SEPARATOR
    lines = np.arange(block.first_line, block.first_line + block.num_lines, dtype=np.int64)
    if _looks_good(data, separator, layout, block.num_lines):
        try:
            return LineFrame(block.file, _parse(data, separator, layout, layout.schema), lines), []
        except pl.exceptions.PolarsError:
            pass  # which line it was, the exact way tells
    return _read_exactly(data, separator, layout, LineFrame(block.file, pl.DataFrame(), lines))


def _looks_good(data: bytes, separator: bytes, layout: Layout, num_lines: int) -> bool:
    """Check what the CSV reader lets pass: short lines (it refuses long ones) and zero bytes."""
    return (
        count_byte(data, separator) == num_lines * (len(layout.columns) - 1)
        and b"\0" not in data
        and (layout.encoding == "utf-8" or data.isascii())
    )


def _parse(data: bytes, separator: bytes, layout: Layout, schema: dict[str, pl.DataType]) -> pl.DataFrame:
    if not data:
        return pl.DataFrame(schema=schema)
    return pl.read_csv(data, separator=separator.decode(), has_header=False, schema=schema, quote_char=None)


def _read_exactly(data: bytes, separator: bytes, layout: Layout, unread: LineFrame) -> tuple[LineFrame, list[BadLine]]:
    """Judge each line, then each number of the lines that have the right shape."""
    good: list[int] = []
    bad: list[BadLine] = []
    lines = data.split(b"\n")[:-1]
    for place, line in enumerate(lines):
        complaint = _complaint(line, separator, layout)
        if complaint is None:
            good.append(place)
        else:
            bad.append(BadLine(unread.file, int(unread.lines[place]), complaint))
    text = b"".join(lines[place] + b"\n" for place in good).decode(layout.encoding)
    texts = _parse(text.encode(), separator, layout, dict.fromkeys(layout.columns, pl.String()))
    rows, bad_numbers = _to_numbers(LineFrame(unread.file, texts, unread.lines[good]), layout)
    return rows, in_line_order(bad, bad_numbers)


def _to_numbers(rows: LineFrame, layout: Layout) -> tuple[LineFrame, list[BadLine]]:
    """Turn the texts of number columns into numbers as the CSV reader does: leading spaces do not count."""
    checks = RowChecks(rows)
    numbers = {}
    for name in (column for column in layout.columns if column in layout.numbers):
        texts = rows.frame[name].str.strip_chars_start(" ").replace("", None)
        numbers[name] = texts.cast(pl.Int64, strict=False)
        checks.reject(name, numbers[name].is_null() & texts.is_not_null(), "not a whole number")
    keep = checks.keep()
    frame = rows.frame.with_columns(**numbers).filter(pl.Series(keep, dtype=pl.Boolean))
    return LineFrame(rows.file, frame, rows.lines[keep]), checks.bad_lines()


def _complaint(line: bytes, separator: bytes, layout: Layout) -> str | None:
    found = line.count(separator) + 1
    if not line:
        return "the line is empty"
    if found != len(layout.columns):
        return f"expected {len(layout.columns)} columns separated by {in_words(layout.separator)}, found {found}"
    if b"\0" in line:
        return f"byte 0x00 at byte {line.index(0) + 1} of the line"
    try:
        line.decode(layout.encoding)
    except UnicodeDecodeError as error:
        return f"byte 0x{line[error.start]:02x} at byte {error.start + 1} of the line is not valid {layout.encoding}"
    return None


def in_line_order(*bad: list[BadLine]) -> list[BadLine]:
    """Return the bad lines of one block in file order."""
    return sorted((line for lines in bad for line in lines), key=lambda line: line.line)
