"""Prediction files, Parquet or CSV, read in batches and checked row by row."""

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

BATCH_ROWS = 1 << 20


@dataclass(frozen=True)
class Names:
    """Columns of a prediction file.

    Args:
        label: 0 or 1.
        score: probability, or logit.
        weight: of the row, at least 0; None if all rows count alike.
        others: further columns to read, for groups and slices.
        logits: scores are logits.
    """

    label: str = "label"
    score: str = "score"
    weight: str | None = None
    others: tuple[str, ...] = ()
    logits: bool = False

    @property
    def read(self) -> list[str]:
        """All columns, each once."""
        return list(dict.fromkeys([self.label, self.score, *([self.weight] if self.weight else []), *self.others]))


@dataclass(frozen=True)
class Rows:
    """Checked rows.

    Args:
        is_positive: [N].
        scores: [N] as in the file.
        weights: [N], or None.
        others: further columns, [N] each.
    """

    is_positive: NDArray[np.bool_]
    scores: NDArray[np.floating]
    weights: NDArray[np.float64] | None
    others: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(self.is_positive)


class PredictionFiles:
    """One or more files read as one, in the order given.

    Args:
        paths: .parquet, .csv or .tsv files.
        names: of the columns.

    Raises:
        ValueError: a file is missing, empty, truncated or of another kind, or lacks a column.
    """

    def __init__(self, paths: Sequence[Path], names: Names) -> None:
        if not paths:
            raise ValueError("files: give at least one prediction file.")
        self.paths = tuple(paths)
        self.names = names
        for path in self.paths:
            known = _column_names(path)
            for name in names.read:
                if name not in known:
                    close = get_close_matches(name, known, n=1)
                    hint = f"; did you mean '{close[0]}'?" if close else ""
                    raise ValueError(f"{path}: no column '{name}'{hint} (columns: {', '.join(known)})")

    def batches(self) -> Iterator[Rows]:
        """Checked rows, a million at a time.

        Raises:
            ValueError: on a value that no metric can take, naming file, column and row (from 0).
        """
        num_rows = 0
        for path in self.paths:
            start = 0
            for batch in _read(path, self.names.read):
                if batch.num_rows:
                    yield self._checked(batch, path, start)
                start += batch.num_rows
            num_rows += start
            if start == 0:
                raise ValueError(f"{path}: the file has no rows.")

    def all(self) -> Rows:
        """Every row in memory."""
        parts = list(self.batches())
        return Rows(
            np.concatenate([part.is_positive for part in parts]),
            np.concatenate([part.scores for part in parts]),
            None if self.names.weight is None else np.concatenate([p.weights for p in parts if p.weights is not None]),
            {name: _join([part.others[name] for part in parts], name) for name in self.names.others},
        )

    def num_rows(self) -> int | None:
        """Rows of all files, where their kind tells without reading them; else None."""
        if any(_kind(path) != "parquet" for path in self.paths):
            return None
        return sum(pq.ParquetFile(path).metadata.num_rows for path in self.paths)

    def _checked(self, batch: pa.RecordBatch, path: Path, start: int) -> Rows:
        names = self.names
        labels = _numbers(batch, names.label, path, start)
        scores = _numbers(batch, names.score, path, start)
        _refuse(labels != labels.astype(bool), labels, path, names.label, start, "labels must be 0 or 1")
        if not names.logits:
            outside = (scores < 0) | (scores > 1)
            _refuse(outside, scores, path, names.score, start, "probabilities must be in [0, 1] (--logits for logits)")
        weights = None
        if names.weight is not None:
            weights = _numbers(batch, names.weight, path, start).astype(np.float64)
            _refuse((weights < 0) | np.isinf(weights), weights, path, names.weight, start, "weights must be at least 0")
        return Rows(labels.astype(bool), scores, weights, {name: batch.column(name) for name in names.others})


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    if not path.is_file():
        raise ValueError(f"{path}: the file does not exist.")
    if suffix not in (".parquet", ".csv", ".tsv"):
        raise ValueError(f"{path}: must be .parquet, .csv or .tsv.")
    return suffix[1:]


def _column_names(path: Path) -> list[str]:
    kind = _kind(path)
    if path.stat().st_size == 0:
        raise ValueError(f"{path}: the file is empty.")
    try:
        if kind == "parquet":
            return list(pq.ParquetFile(path).schema_arrow.names)
        with _open_csv(path, None) as reader:
            return list(reader.schema.names)
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: cannot be read as {kind}: {str(error).splitlines()[0]}") from error


def _open_csv(path: Path, columns: list[str] | None) -> pacsv.CSVStreamingReader:
    parse = pacsv.ParseOptions(delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
    return pacsv.open_csv(
        path, parse_options=parse, convert_options=pacsv.ConvertOptions(include_columns=columns or [])
    )


def _read(path: Path, columns: list[str]) -> Iterator[pa.RecordBatch]:
    kind = _kind(path)
    try:
        if kind == "parquet":
            yield from pq.ParquetFile(path).iter_batches(BATCH_ROWS, columns=columns)
        else:
            with _open_csv(path, columns) as reader:
                yield from reader
    except (pa.ArrowInvalid, OSError) as error:
        raise ValueError(f"{path}: cannot be read to its end: {str(error).splitlines()[0]}") from error


def _numbers(batch: pa.RecordBatch, name: str, path: Path, start: int) -> NDArray[np.floating]:
    """A column in float32 or float64 without holes."""
    column = batch.column(name)
    if not (pa.types.is_floating(column.type) or pa.types.is_integer(column.type) or pa.types.is_boolean(column.type)):
        raise ValueError(f"{path}, column '{name}': must be numbers, got {column.type}.")
    if column.null_count:
        row = start + int(pc.index(pc.is_null(column), True).as_py())
        raise ValueError(f"{path}, column '{name}', row {row}: the value is missing.")
    values = column.to_numpy(zero_copy_only=False)
    values = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    _refuse(np.isnan(values), values, path, name, start, "values must be numbers")
    return values


def _refuse(
    wrong: NDArray[np.bool_], values: NDArray[np.floating], path: Path, name: str, start: int, rule: str
) -> None:
    rows = np.flatnonzero(wrong)
    if len(rows):
        raise ValueError(f"{path}, column '{name}', row {start + rows[0]}: {rule}, got {values[rows[0]]}.")


def _join(parts: Sequence[pa.Array], name: str) -> pa.Array:
    kinds = {str(part.type) for part in parts}
    if len(kinds) > 1:
        raise ValueError(f"column '{name}': the files hold different types, {', '.join(sorted(kinds))}.")
    return pa.chunked_array(parts).combine_chunks()
