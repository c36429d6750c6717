"""What is known of items: vectors, texts and categories, from files as they are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.first_line import first_line

Matrix = NDArray[np.float32]


@dataclass(frozen=True)
class Vectors:
    """A vector of each of M items.

    Args:
        items: [M].
        values: float32 [M, T], finite.
    """

    items: pl.Series
    values: Matrix


def read_items(path: Path, item: str, columns: list[str]) -> pl.DataFrame:
    """Column item and the named columns, a row an item, the first of each; items without a name are left out.

    Raises:
        ValueError: if the file is missing, of another kind, or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"--items: file '{path}' does not exist.")
    if path.suffix not in (".parquet", ".csv", ".tsv"):
        raise ValueError(f"--items: '{path}' must be a .parquet, .csv or .tsv file.")
    try:
        frame = pl.read_parquet(path, glob=False) if path.suffix == ".parquet" else _read_text(path, item)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"--items: '{path}' cannot be read ({first_line(error)}).") from error
    for name in [item, *columns]:
        if name not in frame.columns:
            raise ValueError(f"--items: '{path}' has no column '{name}' (it has: {', '.join(frame.columns)}).")
    chosen = frame.select(pl.col(item).alias("item"), *(name for name in columns if name != "item"))
    return chosen.drop_nulls("item").unique("item", keep="first", maintain_order=True)


def _read_text(path: Path, item: str) -> pl.DataFrame:
    """A CSV file; items are texts, so that 007 and 7 are two, or whole numbers where all are written as such."""
    separator = "\t" if path.suffix == ".tsv" else ","
    frame = pl.read_csv(path, separator=separator, schema_overrides={item: pl.String}, glob=False)
    if item not in frame.columns:
        return frame
    whole = frame[item].cast(pl.Int64, strict=False)
    return frame.with_columns(whole) if whole.cast(pl.String).equals(frame[item], null_equal=True) else frame


def column_vectors(frame: pl.DataFrame, column: str) -> Vectors:
    """The vectors of a column of lists, of the items that have one.

    Raises:
        ValueError: if it holds no lists of numbers of one width, or a number is not finite.
    """
    dtype = frame[column].dtype
    if not isinstance(dtype, pl.List | pl.Array):
        raise ValueError(f"--vectors: column '{column}' must hold lists of numbers, got {dtype}.")
    known = frame.select("item", vector=pl.col(column).cast(pl.List(pl.Float32))).filter(
        pl.col("vector").list.len() > 0
    )
    widths = known["vector"].list.len().unique()
    if len(widths) != 1:
        raise ValueError(f"--vectors: column '{column}' must hold vectors of one width, got widths {widths.to_list()}.")
    return Vectors(known["item"], _finite(known["vector"].explode().to_numpy().reshape(len(known), -1), column))


def file_vectors(path: Path, items: pl.Series) -> Vectors:
    """The rows of a .npy matrix, the first for the first item; a row of zeros is no vector.

    Raises:
        ValueError: if it is no matrix of numbers with a row for each item.
    """
    if not path.is_file():
        raise ValueError(f"--vectors: file '{path}' does not exist.")
    try:
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"--vectors: '{path}' cannot be read as a matrix ({first_line(error)}).") from error
    if values.ndim != 2 or len(values) != len(items):
        raise ValueError(
            f"--vectors: '{path}' must be [{len(items)}, T], a row for each item, got {list(values.shape)}."
        )
    matrix = _finite(values, str(path))
    known = matrix.any(axis=1)
    return Vectors(items.filter(pl.Series(known)), matrix[known])


def _finite(values: NDArray[np.generic], name: str) -> Matrix:
    matrix = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(matrix).all():
        row = int((~np.isfinite(matrix)).any(axis=1).argmax())
        raise ValueError(f"--vectors: row {row} of '{name}' has a value that is no finite number in float32.")
    return matrix
