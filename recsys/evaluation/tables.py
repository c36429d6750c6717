"""Tables of names and scores: CSV, TSV and Parquet, one file, several, or a folder of parts, read as one.

Nothing is guessed of a value: a CSV's cells are texts until a number is asked for, whatever its first rows look like,
and an empty cell without quotes is a missing value. Parquet has types of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.evaluation.numbering import Column, alike, canonical, decoded

BATCH_ROWS = 1 << 20
_KINDS = (".parquet", ".csv", ".tsv")
_OPTION = {name: f"; --{name} names another" for name in ("label", "score")}
_READ_ERRORS = (pa.ArrowException, OSError, UnicodeDecodeError)
_EXACT = 2**53
_NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$|^[+-]?(inf|infinity|nan)$"


@dataclass(frozen=True)
class Part:
    """Some rows of a table.

    Args:
        path: of their file.
        first_row: place of the first of them in that file, from 0.
        rows: the columns.
    """

    path: Path
    first_row: int
    rows: pa.RecordBatch

    def __len__(self) -> int:
        return int(self.rows.num_rows)

    def numbers(self, name: str, truth_values: bool = True) -> NDArray[np.floating]:
        """A column without holes, in float32 where it is stored so, else in float64; true and false may be 1 and 0.

        Raises:
            ValueError: naming file, column and row of what is no number, NaN, missing, or not exact in 64 bits.
        """
        column = decoded(self.rows.column(name))
        if column.null_count:
            self.refuse(name, pc.is_null(column), "the value is missing")
        if self.path.suffix.lower() != ".parquet":
            column = self._parsed(name, column)
        kind = column.type
        if pa.types.is_decimal(kind) or kind == pa.float16():
            column = column.cast(pa.float64() if pa.types.is_decimal(kind) else pa.float32())
        elif not (pa.types.is_floating(kind) or pa.types.is_integer(kind) or (truth_values and kind == pa.bool_())):
            raise ValueError(f"{self.path}, column '{name}': must be numbers, got {self.rows.column(name).type}.")
        values = column.to_numpy(zero_copy_only=False)
        if pa.types.is_integer(kind):
            self.refuse(name, np.abs(values.astype(np.float64)) >= _EXACT, "whole numbers must be below 2**53", values)
        values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
        self.refuse(name, np.isnan(values), "values must be numbers", values)
        return values

    def names(self, name: str) -> pa.Array:
        """A column of values to be told apart."""
        return decoded(self.rows.column(name))

    def refuse(
        self, name: str, wrong: NDArray[np.bool_] | pa.Array, rule: str, values: NDArray[np.generic] | None = None
    ) -> None:
        """Raise a ValueError about the first row that is wrong, if one is."""
        rows = np.flatnonzero(wrong)
        if len(rows):
            value = None if values is None else values[rows[0]]
            got = "" if values is None else f", got {value!r}" if isinstance(value, str) else f", got {value}"
            raise ValueError(f"{self.path}, column '{name}', row {self.first_row + rows[0]}: {rule}{got}.")

    def _parsed(self, name: str, texts: pa.Array) -> pa.Array:
        """Numbers from a CSV's texts; true and false are 1 and 0."""
        words = pc.utf8_lower(pc.utf8_trim_whitespace(texts))
        if pc.all(pc.is_in(words, pa.array(["true", "false"], words.type))).as_py():
            return pc.equal(words, "true")
        try:
            return words.cast(pa.float64())
        except pa.ArrowInvalid as error:
            wrong = pc.invert(pc.match_substring_regex(words, _NUMBER))
            self.refuse(name, wrong, "must be a number", texts.to_numpy(zero_copy_only=False))
            raise ValueError(f"{self.path}, column '{name}': {error}.") from error


class TableFiles:
    """Files read as one table, in the order given; a folder stands for its parts, in the order of their names.

    Args:
        paths: .parquet, .csv or .tsv files, or folders of them.

    Attributes:
        paths: the files.
        columns: names that all files have, in the order of the first.

    Raises:
        ValueError: a file is missing, empty, truncated or of another kind, is given twice, or has a column twice.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        if not paths:
            raise ValueError("files: give at least one file.")
        self.paths = tuple(file for path in paths for file in _files(path))
        places = [path.resolve() for path in self.paths]
        twice = [path for path, place in zip(self.paths, places, strict=True) if places.count(place) > 1]
        if twice:
            raise ValueError(f"{twice[0]}: is given twice, and its rows would count twice.")
        self._names = {path: _column_names(path) for path in self.paths}
        self.columns = [name for name in self._names[self.paths[0]] if all(name in of for of in self._names.values())]

    def require(self, names: Sequence[str]) -> None:
        """Refuse a name that some file does not have.

        Raises:
            ValueError: with the nearest name that it has.
        """
        for path, known in self._names.items():
            for name in names:
                if name not in known:
                    close = get_close_matches(name, known, n=1)
                    hint = f"; did you mean '{close[0]}'?" if close else _OPTION.get(name, "")
                    raise ValueError(f"{path}: no column '{name}'{hint} (columns: {', '.join(known)})")

    def parts(self, names: Sequence[str]) -> Iterator[Part]:
        """The rows, a million at a time.

        Raises:
            ValueError: a file cannot be read to its end, has no rows, or, a CSV, has a value with a line break, as when
                a quote is not closed.
        """
        for path in self.paths:
            first_row = 0
            for rows in _read(path, names):
                if rows.num_rows:
                    yield Part(path, first_row, rows.select(list(names)))
                first_row += rows.num_rows
            if first_row == 0:
                raise ValueError(f"{path}: the file has no rows.")

    def column(self, name: str) -> pa.Array:
        """One whole column.

        Raises:
            ValueError: as `parts`, or if files hold it in types that have no values in common.
        """
        return joined([part.names(name) for part in self.parts([name])], name)

    def num_rows(self) -> int | None:
        """Rows of all files, where their kind tells without reading them; else None."""
        if any(path.suffix.lower() != ".parquet" for path in self.paths):
            return None
        return sum(pq.ParquetFile(path).metadata.num_rows for path in self.paths)

    def metadata(self, key: bytes) -> bytes | None:
        """What all files say under a key of their Parquet metadata; None where they do not, or not the same."""
        found = {_metadata(path, key) for path in self.paths}
        return found.pop() if len(found) == 1 else None


def joined(parts: Sequence[Column], name: str) -> pa.Array:
    """Parts of a column in one array.

    Raises:
        ValueError: if their types have no values in common.
    """
    arrays = [decoded(part) for part in parts]
    if len({array.type for array in arrays}) > 1:
        arrays = alike([canonical(array, name) for array in arrays], name)
    return pa.chunked_array(arrays).combine_chunks()


def _files(path: Path) -> list[Path]:
    """The file, or the parts of a folder; what a writer hides beside its parts begins with a dot or a low line."""
    if path.is_dir():
        parts = sorted(each for each in path.iterdir() if each.is_file() and each.name[0] not in "._")
        kinds = {part.suffix.lower() for part in parts}
        if len(kinds) != 1 or not kinds <= set(_KINDS):
            found = ", ".join(sorted(kind or "without an ending" for kind in kinds)) or "no file"
            raise ValueError(f"{path}: a folder must hold parts of one kind ({', '.join(_KINDS)}), found {found}.")
        return parts
    if not path.is_file():
        raise ValueError(f"{path}: {'is not a file' if path.exists() else 'the file does not exist'}.")
    if path.suffix.lower() not in _KINDS:
        raise ValueError(f"{path}: must be {', '.join(_KINDS[:-1])} or {_KINDS[-1]}.")
    return [path]


def _column_names(path: Path) -> list[str]:
    kind = path.suffix.lower()[1:]
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty.")
    try:
        if kind == "parquet":
            names = list(pq.ParquetFile(path).schema_arrow.names)
        else:
            _refuse_other_encodings(path)
            with _open_csv(path, ()) as reader:
                names = list(reader.schema.names)
    except _READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read as {kind}: {_first_line(error)}") from error
    twice = [name for name in dict.fromkeys(names) if name and names.count(name) > 1]
    if twice:
        raise ValueError(f"{path}: has {names.count(twice[0])} columns named '{twice[0]}'; give each its own name.")
    return names


def _refuse_other_encodings(path: Path) -> None:
    with path.open("rb") as file:
        start = file.read(4096)
    if start[:2] in (b"\xff\xfe", b"\xfe\xff") or b"\0" in start:
        raise ValueError(f"{path}: is not UTF-8 text (UTF-16, as some programs save it?); save it as UTF-8.")


def _open_csv(path: Path, columns: Sequence[str], whole: bool = False) -> pacsv.CSVStreamingReader:
    """Cells of some columns as texts; with `whole`, those of all other columns too, as bytes."""
    parse = pacsv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",", newlines_in_values=True)
    others = dict.fromkeys(_column_names(path), pa.binary()) if whole else {}
    convert = pacsv.ConvertOptions(
        include_columns=[] if whole else columns,
        column_types=others | dict.fromkeys(columns, pa.string()),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
    )
    return pacsv.open_csv(path, parse_options=parse, convert_options=convert)


def _has_quotes(path: Path) -> bool:
    with path.open("rb") as file:
        return any(b'"' in block for block in iter(lambda: file.read(BATCH_ROWS), b""))


def _refuse_line_breaks(part: Part) -> None:
    for name, column in zip(part.rows.schema.names, part.rows.columns, strict=True):
        broken = pc.fill_null(pc.match_substring(column, "\n"), False)
        part.refuse(name, broken, "the value has a line break; is a quote not closed?")


def _read(path: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    try:
        if path.suffix.lower() == ".parquet":
            # A name with a dot would also be read as a path into a structure.
            for rows in pq.ParquetFile(path, page_checksum_verification=True).iter_batches(
                BATCH_ROWS, columns=list(columns)
            ):
                yield rows.select(list(columns))
        else:
            # A quote that is not closed swallows rows, in whatever column it is: then all of them are looked at.
            has_quotes = _has_quotes(path)
            with _open_csv(path, columns, has_quotes) as reader:
                first_row = 0
                for rows in reader:
                    if has_quotes:
                        _refuse_line_breaks(Part(path, first_row, rows))
                    first_row += rows.num_rows
                    yield rows
    except _READ_ERRORS as error:
        raise ValueError(f"{path}: cannot be read to its end: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _metadata(path: Path, key: bytes) -> bytes | None:
    if path.suffix.lower() != ".parquet":
        return None
    return (pq.ParquetFile(path).metadata.metadata or {}).get(key)
