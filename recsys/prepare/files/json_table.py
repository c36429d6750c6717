"""A file of JSON lines, block by block: every number keeps the digits it is written with, as text."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import polars as pl

from recsys.prepare.files.bad_lines import BadLine
from recsys.prepare.files.raw_files import RawBlock, RawFile
from recsys.prepare.files.raw_frames import LineFrame
from recsys.prepare.files.text_table import ParsedTable, check_header

FIRST_LINES = 1000


class JsonTable:
    """One file with an object a line; a key that a line lacks is missing there.

    Attributes:
        file: What is read.
        columns: Keys of the first 1,000 lines, or as given.
    """

    def __init__(self, file: RawFile, columns: tuple[str, ...] = (), missing: tuple[str, ...] = ()) -> None:
        """Read the first lines."""
        self.file = file
        self._missing = frozenset(missing)
        self.columns = columns or self._keys()
        self._needed = list(self.columns)

    def _keys(self) -> tuple[str, ...]:
        block = next(iter(self.file.blocks(1 << 20)))
        found: dict[str, None] = {}
        for line in block.data.split(b"\n")[:FIRST_LINES]:
            record = _record(line)
            found |= dict.fromkeys(record) if isinstance(record, dict) else {}
        if not found:
            raise ValueError(f"{self.file.name}, line 1: is no JSON object; give one object a line.")
        check_header(tuple(found), f"{self.file.name}, keys of the first {FIRST_LINES:,} lines")
        return tuple(found)

    def only(self, columns: Sequence[str]) -> None:
        """Keep no others than these keys."""
        self._needed = list(columns)

    def blocks(self) -> Iterator[RawBlock]:
        """Yield whole lines."""
        yield from self.file.blocks()

    def parse(self, block: RawBlock) -> ParsedTable:
        """Parse the objects of a block: texts, or lists of texts where some value of the block is a list.

        What is nested deeper becomes JSON again.
        """
        good: list[dict[str, Any]] = []
        places: list[int] = []
        bad: list[BadLine] = []
        num_blank = 0
        for place, line in enumerate(block.data.split(b"\n")[:-1]):
            if not line.strip():
                num_blank += 1
                continue
            record = _record(line)
            if isinstance(record, str):
                bad.append(BadLine(block.file, block.first_line + place, record))
            else:
                good.append(record)
                places.append(place)
        frame = pl.DataFrame([self._column(name, good) for name in self._needed])
        lines = block.first_line + np.array(places, dtype=np.int64)
        return ParsedTable(LineFrame(block.file, frame, lines), bad, num_blank)

    def _column(self, name: str, records: list[dict[str, Any]]) -> pl.Series:
        values = [record.get(name) for record in records]
        if any(isinstance(value, list) for value in values):
            lists = [value if value is None or isinstance(value, list) else [value] for value in values]
            texts = [None if each is None else [self._text(value) for value in each] for each in lists]
            return pl.Series(name, texts, pl.List(pl.String))
        return pl.Series(name, [self._text(value) for value in values], pl.String)

    def _text(self, value: Any) -> str | None:
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, dict | list):
            return _as_json(value)
        return None if value is None or value == "" or value in self._missing else str(value)


class _Number(str):
    """The digits of a number, which are no text where it is written again."""


def _as_json(value: Any) -> str:
    """Nested values as they were read, keys sorted: 1 and "1" stay two."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)}: {_as_json(value[key])}" for key in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_as_json, value)) + "]"
    return str(value) if isinstance(value, _Number) else json.dumps(value)


def _record(line: bytes) -> dict[str, Any] | str:
    """The object of a line with its numbers as texts, or what is wrong with it."""
    try:
        found = json.loads(line, **_NUMBERS, object_pairs_hook=_once)
        if b"\\u" in line or b"\xed" in line:
            json.dumps(found, ensure_ascii=False).encode()
    except UnicodeDecodeError as error:
        return f"byte 0x{error.object[error.start]:02x} at byte {error.start + 1} is not valid utf-8"
    except UnicodeEncodeError as error:
        return f"holds '\\u{ord(error.object[error.start]):x}' alone, half a character"
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({error})"
    return found if isinstance(found, dict) else "is no JSON object"


def _no_number(word: str) -> None:
    """NaN, which some programs write, is missing; they write infinite numbers too, which are none."""
    if word != "NaN":
        raise ValueError(f"{word} is no number")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key is there twice")
    return found


_NUMBERS: Any = {"parse_int": _Number, "parse_float": _Number, "parse_constant": _no_number}
