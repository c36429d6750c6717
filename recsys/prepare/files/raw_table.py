"""A log's files as one table in memory: their good rows, and what was left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.bad_lines import BadLine, BadLineError
from recsys.prepare.files.column_values import texts_of
from recsys.prepare.files.open_table import Table, find_column, open_tables
from recsys.prepare.files.text_table import TextFormat


@dataclass(frozen=True)
class RawTable:
    """Good rows of files with the same columns.

    Shape:
        frame [R, columns]; lines [R], the number of each row's line in its file, from 1 (a row in Parquet and Arrow);
        files [R], the place of its file among `names`; bad, the lines left out

    Attributes:
        words: what messages call the files.
    """

    words: str
    names: tuple[str, ...]
    frame: pl.DataFrame
    lines: NDArray[np.int64]
    files: NDArray[np.int64]
    bad: tuple[BadLine, ...] = ()

    @property
    def note(self) -> str:
        """What was read and left out."""
        read = f"{', '.join(self.names[:3])}{' ...' if len(self.names) > 3 else ''}: "
        read += f"{len(self.frame) + len(self.bad):,} rows read"
        if not self.bad:
            return read
        first = self.bad[0]
        return f"{read}, {len(self.bad):,} bad lines skipped (the first: line {first.line}, {first.reason})"

    def place(self, row: int) -> str:
        """File and line of a row."""
        return f"{self.names[self.files[row]]}, line {self.lines[row]}"


def read_table(
    paths: Sequence[Path],
    format: TextFormat,
    option: str,
    skip_bad: bool | None,
    needed: Mapping[str, str],
    typed_header: bool = False,
) -> RawTable:
    """Read files, or folders of them; all values of text files are text.

    Args:
        paths: of the files.
        format: of text files.
        option: that names them.
        skip_bad: whether bad lines are left out; None where there is no option that says so, and they never are.
        needed: columns, and the option that names each.
        typed_header: whether names of columns end in a colon and a type, which are left out of them.

    Raises:
        ValueError: a file is missing, is empty, cannot be read, lacks a column or, unless skip_bad, has a line that
            cannot be read.
    """
    tables = open_tables(paths, format, option)
    words = f"'{paths[0]}'" if len(paths) == 1 else f"'{paths[0]}' and others"
    frames, lines, files = [], [], []
    bad: list[BadLine] = []
    for place, table in enumerate(tables):
        full = {name.partition(":")[0] if typed_header else name: name for name in table.columns}
        for name, told_by in needed.items():
            find_column(list(full), name, told_by, table.file.name)
        table.only([full[name] for name in needed])
        for frame, numbers in _rows(table, skip_bad, bad):
            frames.append(frame.rename({full[name]: name for name in needed}))
            lines.append(numbers)
            files.append(np.full(len(frame), place))
    joined = concatenated(frames)
    if not len(joined):
        raise ValueError(f"{words} has no {'usable ' if bad else ''}rows.")
    names = tuple(table.file.name for table in tables)
    return RawTable(words, names, joined, np.concatenate(lines), np.concatenate(files), tuple(bad))


def _rows(table: Table, skip_bad: bool | None, bad: list[BadLine]) -> list[tuple[pl.DataFrame, NDArray[np.int64]]]:
    found = []
    for block in table.blocks():
        parsed = table.parse(block)
        if parsed.bad and not skip_bad:
            first = parsed.bad[0]
            way = "" if skip_bad is None else ", or pass --on-bad-line skip to leave it out"
            raise BadLineError(f"{first.file}, line {first.line}: {first.reason}. Mend the line{way}.")
        bad += parsed.bad
        found.append((parsed.rows.frame, parsed.rows.lines))
    return found


def concatenated(frames: Sequence[pl.DataFrame]) -> pl.DataFrame:
    """The rows of all frames; a column of several types becomes texts, or lists of texts where some cell is a list."""
    changed = {}
    for name in frames[0].columns:
        types = {frame.schema[name] for frame in frames if len(frame)}
        if len(types) > 1:
            changed[name] = any(isinstance(kind, pl.List | pl.Array) for kind in types)
    alike = [
        frame.with_columns(_alike(frame[name], is_list).alias(name) for name, is_list in changed.items())
        for frame in frames
        if len(frame)
    ]
    return pl.concat(alike) if alike else frames[0]


def _alike(values: pl.Series, is_list: bool) -> pl.Series:
    if not is_list:
        return texts_of(values, f"column '{values.name}'")
    if isinstance(values.dtype, pl.List | pl.Array):
        return values.cast(pl.List(pl.String))
    texts = texts_of(values, f"column '{values.name}'")
    lists = texts.reshape((len(texts), 1)).cast(pl.List(pl.String)).alias(values.name)
    return lists.set(texts.is_null(), None) if texts.null_count() else lists
