"""What is known of items: vectors, texts and categories, from files as they are named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.column_values import exact_ids
from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.raw_table import read_table
from recsys.prepare.files.text_table import TextFormat

PLAIN_NUMBER = r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$"
"""What is written as programs write numbers: 07 is a name, and so is +7."""

LONGEST_VECTOR = 1e18
"""Its square, and those of differences, are still float32 numbers."""

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
        ValueError: if the file is missing, of another kind, lacks a column or a name, or cannot be read to its end.
    """
    if not path.is_file():
        raise ValueError(f"--items: file '{path}' does not exist.")
    if path.suffix not in (".parquet", ".csv", ".tsv"):
        raise ValueError(f"--items: '{path}' must be a .parquet, .csv or .tsv file.")
    text = TextFormat(separator="\t" if path.suffix == ".tsv" else ",")
    needed = dict.fromkeys((item, *columns), "--items")
    frame = read_table([path], text, "--items", None, needed).frame
    if path.suffix != ".parquet":
        frame = frame.with_columns(_typed(frame[name], name == item) for name in needed)
    ids = exact_ids(frame[item], f"column '{item}' of '{path}'", "--items")
    chosen = frame.select(ids.alias("item"), *(name for name in columns if name != "item"))
    named = chosen.drop_nulls("item")
    kept = named.unique("item", keep="first", maintain_order=True)
    if len(kept) < len(chosen):
        print(
            f"{path.name}: left out {len(chosen) - len(named):,} rows without an item and {len(named) - len(kept):,} "
            "that repeat one; the first row of an item counts"
        )
    return kept


def _typed(texts: pl.Series, is_item: bool) -> pl.Series:
    """Whole numbers where all are written as such, so that 007 and 7 are two; numbers with a point, but no items.

    Any other column stays texts.
    """
    whole = texts.cast(pl.Int64, strict=False)
    if whole.cast(pl.String).equals(texts, null_equal=True):
        return whole
    numbers = texts.cast(pl.Float64, strict=False)
    are_numbers = numbers.null_count() == texts.null_count() and bool(numbers.is_finite().all())
    is_plain = texts.str.contains(PLAIN_NUMBER).all() and texts.str.contains(".", literal=True).any()
    return numbers if are_numbers and is_plain and not is_item else texts


def column_vectors(frame: pl.DataFrame, column: str) -> Vectors:
    """The vectors of a column of lists, of the items that have one.

    Raises:
        ValueError: if it holds no lists of numbers of one width, or a number is not finite.
    """
    dtype = frame[column].dtype
    if not isinstance(dtype, pl.List | pl.Array) or not (dtype.inner.is_numeric() or dtype.inner == pl.Boolean):
        raise ValueError(f"--vectors: column '{column}' must hold lists of numbers, got {dtype}.")
    inner = pl.Float32 if dtype.inner == pl.Float32 else pl.Float64
    known = frame.select("item", vector=pl.col(column).cast(pl.List(inner))).filter(pl.col("vector").list.len() > 0)
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
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
        found = values.dtype if isinstance(values, np.ndarray) else "several arrays"
        raise ValueError(f"--vectors: '{path}' must hold real numbers, got {found}.")
    if values.ndim != 2 or len(values) != len(items):
        raise ValueError(
            f"--vectors: '{path}' must be [{len(items)}, T], a row for each item, got {list(values.shape)}."
        )
    matrix = _finite(values, str(path))
    known = matrix.any(axis=1)
    if not known.any():
        raise ValueError(f"--vectors: '{path}' holds no vector other than zeros.")
    return Vectors(items.filter(pl.Series(known)), matrix[known])


def _finite(values: NDArray[np.generic], name: str) -> Matrix:
    with np.errstate(over="ignore"):
        matrix = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(matrix).all():
        row = int((~np.isfinite(matrix)).any(axis=1).argmax())
        raise ValueError(f"--vectors: row {row} of '{name}' has a value that is no finite number in float32.")
    lost = values.astype(bool).any(axis=1) & ~matrix.any(axis=1)
    if lost.any():
        row = int(lost.argmax())
        raise ValueError(f"--vectors: row {row} of '{name}' is too short for float32; scale the vectors up.")
    lengths = np.sqrt(np.einsum("mt,mt->m", matrix, matrix, dtype=np.float64))
    if lengths.size and lengths.max() > LONGEST_VECTOR:
        row = int(lengths.argmax())
        raise ValueError(f"--vectors: row {row} of '{name}' is {lengths[row]:.3g} long; scale the vectors down.")
    return matrix
