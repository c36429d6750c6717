"""Open a file of rows by what it holds: Parquet and Arrow by their first bytes, JSON lines by name, else CSV."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Protocol

from recsys.prepare.files.arrow_table import ARROW_MAGIC, PARQUET_MAGIC, ArrowTable
from recsys.prepare.files.json_table import JsonTable
from recsys.prepare.files.raw_files import RawFile
from recsys.prepare.files.raw_paths import named_files
from recsys.prepare.files.text_table import ParsedTable, TextFormat, TextTable

PACKED = (".gz", ".zst", ".zstd")
JSON_NAMES = (".jsonl", ".ndjson", ".json")
MOST_SHOWN = 50
"""Columns that a message names."""
PARQUET_NAMES = (".parquet", ".pq", ".arrow", ".feather", ".ipc")


class Block(Protocol):
    """Some rows of a file, not yet parsed."""

    @property
    def file(self) -> str:
        """Name of the file, for messages."""

    @property
    def first_line(self) -> int:
        """Number of its first line, counted from 1."""

    @property
    def num_lines(self) -> int:
        """How many lines."""


class Table(Protocol):
    """A file of rows with named columns."""

    file: RawFile
    columns: tuple[str, ...]

    def only(self, columns: Sequence[str]) -> None:
        """Parse no others than these columns."""

    def blocks(self) -> Iterator[Any]:
        """Yield the rows in order, unparsed."""

    def parse(self, block: Any) -> ParsedTable:
        """Parse a block; called from several threads."""


def open_tables(paths: Sequence[Path], format: TextFormat, option: str) -> list[Table]:
    """Open every file that is named, and every file of the folders that are.

    Raises:
        ValueError: A file cannot be read.
    """
    return [open_table(RawFile(path, name), format) for path, name in named_files(paths, option)]


def open_table(file: RawFile, format: TextFormat) -> Table:
    """Open one file.

    Raises:
        ValueError: It cannot be read.
    """
    with file.path.open("rb") as stream:
        start = stream.read(8)
    if start.startswith((PARQUET_MAGIC, ARROW_MAGIC)):
        return ArrowTable(file, format.missing)
    suffix = Path(file.path.stem if file.path.suffix in PACKED else file.path.name).suffix.lower()
    if suffix in PARQUET_NAMES:
        raise ValueError(f"'{file.path}' is no {suffix[1:]} file, or a damaged one.")
    if suffix in JSON_NAMES:
        return JsonTable(file, format.columns, format.missing)
    return TextTable(file, format)


def find_column(columns: Sequence[str], name: str, option: str, file: str) -> None:
    """Refuse the name of a column that is not there, with the nearest that is.

    Raises:
        ValueError: naming the option, the file and the column.
    """
    if name not in columns:
        close = get_close_matches(name, columns, 1)
        hint = f"; did you mean '{close[0]}'?" if close else ""
        more = f" and {len(columns) - MOST_SHOWN:,} more" if len(columns) > MOST_SHOWN else ""
        shown = ", ".join(columns[:MOST_SHOWN]) + more
        raise ValueError(f"{option}: '{file}' has no column '{name}'{hint} (columns: {shown})")
