"""A CSV file of any kind, block by block: separators, quotes, a header or none; all values are text.

A cheap check of the bytes (as many separators outside of quotes as the lines need, quotes where they may stand, valid
text) and Polars' strict reader together accept a block only if every record is good. A block they refuse is taken apart
record by record, to learn which are bad and why; the others go on.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from recsys.prepare.files.bad_lines import BadLine
from recsys.prepare.files.raw_files import MAX_RECORD_LINES, RawBlock, RawFile, count_byte
from recsys.prepare.files.raw_frames import INNER_SEPARATOR, LineFrame
from recsys.prepare.files.separators import in_words

SEPARATORS = {"comma": ",", "tab": "\t", "space": " ", "semicolon": ";", "pipe": "|", r"\t": "\t"}
LIKELY_SEPARATORS = ("\t", ";", ",", "|")
ENCODINGS = ("utf-8", "latin-1", "cp1252")
OPEN_QUOTE = "a quote that is not closed"


@dataclass(frozen=True)
class TextFormat:
    """How the lines of text files look.

    Attributes:
        separator: Between values; None for the one that the first line shows.
        columns: Names, where the first line is not a header; else empty.
        missing: Texts that stand for a missing value, beside the empty one.
        ragged: Whether a line may lack its last values.
        encoding: Of the bytes.
    """

    separator: str | None = None
    columns: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ragged: bool = False
    encoding: str = "utf-8"

    def __post_init__(self) -> None:
        if self.encoding not in ENCODINGS:
            raise ValueError(f"--encoding must be one of {', '.join(ENCODINGS)}, got '{self.encoding}'.")
        if self.separator == "" or (self.separator or "") in ('"', "\n", "\r"):
            raise ValueError(
                f"--separator must be a character other than a quote or a newline, got {self.separator!r}."
            )
        check_header(self.columns, "--columns")


@dataclass(frozen=True)
class ParsedTable:
    """Good rows, bad lines, and the number of blank lines that were left out."""

    rows: LineFrame
    bad: list[BadLine]
    num_blank: int = 0


def check_header(columns: Sequence[str], where: str) -> None:
    """Refuse names that are there twice, or are none, or stand for several columns where Polars reads them.

    Raises:
        ValueError: naming the column.
    """
    seen = set()
    for place, name in enumerate(columns):
        if name in seen:
            raise ValueError(f"{where}: column '{name}' is there twice; rename one of them.")
        if not name.strip():
            index = " (pandas writes its index so, and not with index=False)" if place == 0 else ""
            raise ValueError(f"{where}: column {place + 1} has no name; give it one{index}.")
        if name == "*" or (name.startswith("^") and name.endswith("$")):
            raise ValueError(
                f"{where}: column '{name}' has the form of a pattern, which would be read as the columns that fit it; "
                "rename it."
            )
        seen.add(name)


class TextTable:
    """One CSV file; see TextFormat.

    Attributes:
        file: What is read.
        separator: Between values.
        columns: Names.
    """

    def __init__(self, file: RawFile, format: TextFormat) -> None:
        """Read the first line.

        Raises:
            ValueError: The file cannot be read, its header names a column twice, or its separator is not clear.
        """
        self.file = file
        self._format = format
        start = next(iter(file.blocks(1 << 20, quoted=True)))
        if b"\r" in start.data.replace(b"\r\n", b"") and start.data.count(b"\n") == 1:
            raise ValueError(f"{file.name}: lines end in a carriage return alone; convert it with: tr '\\r' '\\n'.")
        self._lines = self._text(start.data).split(b"\n")[:-1]
        self.separator = format.separator or self._shown_separator()
        self.columns = format.columns or self._header()
        self._needed = list(self.columns)

    def _shown_separator(self) -> str:
        first = self._lines[0].decode(errors="replace")
        shown = [character for character in LIKELY_SEPARATORS if character in first]
        if len(shown) > 1:
            raise ValueError(
                f"{self.file.name}, line 1: may be separated by {' or '.join(map(in_words, shown))}; give --separator."
            )
        return shown[0] if shown else ","

    def _header(self) -> tuple[str, ...]:
        cells, self._header_lines = read_record(self._records_of(self._lines[:MAX_RECORD_LINES]), self._inner, None)
        if isinstance(cells, str):
            raise ValueError(f"{self.file.name}, line 1: {cells}; mend the names of the columns.")
        # As they are written, like values: a space belongs to a name.
        names = tuple(cells)
        if names == ("",):
            raise ValueError(f"{self.file.name}, line 1: names no column; see --columns.")
        check_header(names, f"{self.file.name}, line 1")
        return names

    @property
    def _inner(self) -> str:
        """A separator of one character, put in place of a longer one."""
        return self.separator if len(self.separator) == 1 else INNER_SEPARATOR.decode()

    def _records_of(self, lines: list[bytes]) -> list[bytes]:
        if len(self.separator) == 1:
            return lines
        return [line.replace(self.separator.encode(), INNER_SEPARATOR) for line in lines]

    def _text(self, data: bytes) -> bytes:
        """The text in UTF-8."""
        encoding = self._format.encoding
        return data if encoding == "utf-8" else data.decode(encoding, errors="replace").encode()

    def only(self, columns: Sequence[str]) -> None:
        """Keep no others than these columns."""
        self._needed = list(columns)

    def blocks(self) -> Iterator[RawBlock]:
        """Yield whole records, without the header."""
        for block in self.file.blocks(quoted=True):
            if block.first_line == 1 and not self._format.columns:
                num_lines = self._header_lines
                data = block.data.split(b"\n", num_lines)[-1]
                block = RawBlock(block.file, 1 + num_lines, data, block.num_lines - num_lines)
            yield block

    def parse(self, block: RawBlock) -> ParsedTable:
        """Parse the records of a block."""
        data = self._text(block.data)
        if len(self.separator) > 1:
            data = data.replace(self.separator.encode(), INNER_SEPARATOR)
        separator = self._inner.encode()
        starts = record_starts(data, separator, len(self.columns), block.num_lines)
        if starts is not None:
            schema = dict.fromkeys(self.columns, pl.String())
            quote = '"' if b'"' in data else None
            try:
                frame = (
                    pl.read_csv(data, separator=self._inner, has_header=False, schema=schema, quote_char=quote)
                    if data
                    else pl.DataFrame(schema=schema)
                )
            except pl.exceptions.PolarsError:
                frame = None
            if frame is not None and len(frame) == len(starts):
                return ParsedTable(LineFrame(block.file, self._without_missing(frame), block.first_line + starts), [])
        return self._record_by_record(block, data.split(b"\n")[:-1])

    def _record_by_record(self, block: RawBlock, lines: list[bytes]) -> ParsedTable:
        good: list[list[str | None]] = []
        places: list[int] = []
        bad: list[BadLine] = []
        place = num_blank = 0
        num_columns = len(self.columns)
        while place < len(lines):
            here = place
            if not lines[here] and num_columns > 1:
                num_blank, place = num_blank + 1, place + 1
                continue
            cells, num_lines = read_record(lines[here : here + MAX_RECORD_LINES], self._inner, num_columns)
            place += num_lines
            if not isinstance(cells, str) and len(cells) < num_columns and not self._format.ragged:
                cells = f"expected {num_columns} columns separated by {in_words(self.separator)}, found {len(cells)}"
            if isinstance(cells, str):
                bad.append(BadLine(block.file, block.first_line + here, cells))
                continue
            good.append([*cells, *[None] * (num_columns - len(cells))])
            places.append(here)
        frame = pl.DataFrame(good, schema=dict.fromkeys(self.columns, pl.String()), orient="row")
        numbers = block.first_line + np.array(places, dtype=np.int64)
        return ParsedTable(LineFrame(block.file, self._without_missing(frame), numbers), bad, num_blank)

    def _without_missing(self, frame: pl.DataFrame) -> pl.DataFrame:
        missing = ("", *self._format.missing)
        quick = frame.select(self._needed).with_columns(pl.when(pl.all() != "").then(pl.all()).name.keep())
        return quick if len(missing) == 1 else quick.with_columns(pl.all().replace({word: None for word in missing}))


def record_starts(data: bytes, separator: bytes, num_columns: int, num_lines: int) -> np.ndarray | None:
    """Return the line, from 0, where each record begins; None unless every record has its columns and sound quotes."""
    if b"\0" in data:
        return None
    if b'"' not in data:
        return np.arange(num_lines) if count_byte(data, separator) == num_lines * (num_columns - 1) else None
    characters = np.frombuffer(data, np.uint8)
    is_separator, is_newline = characters == separator[0], characters == ord("\n")
    quotes = np.flatnonzero(characters == ord('"'))
    if len(quotes) % 2:
        return None
    opening, closing = quotes[::2], quotes[1::2]
    ends = is_separator | is_newline
    # An escaped quote is one that closes and one that opens right after it.
    opens_well = (opening == 0) | ends[opening - 1] | np.isin(opening - 1, closing)
    closes_well = ends[closing + 1] | np.isin(closing + 1, opening)
    if not (opens_well.all() and closes_well.all()):
        return None
    separators, newlines = np.flatnonzero(is_separator), np.flatnonzero(is_newline)
    outside = np.searchsorted(quotes, newlines) % 2 == 0
    num_separators = np.count_nonzero(np.searchsorted(quotes, separators) % 2 == 0)
    num_records = np.count_nonzero(outside)
    if num_separators != num_records * (num_columns - 1) or (len(outside) and not outside[-1]):
        return None
    return np.concatenate([[0], np.flatnonzero(outside)[:-1] + 1])


def read_record(lines: Sequence[bytes], separator: str, num_columns: int | None) -> tuple[list[str] | str, int]:
    """Return the values of the first record and its lines, or what is wrong with its first line, and 1."""
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
    cells = cells or [""]
    if any("\0" in cell for cell in cells):
        return "byte 0x00 in a value", 1
    if num_columns is not None and len(cells) > num_columns:
        return f"expected {num_columns} columns separated by {in_words(separator)}, found {len(cells)}", 1
    return cells, reader.line_num
