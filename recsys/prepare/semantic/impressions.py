"""How often items are shown, from counts/item.parquet and vocabulary/item.parquet of a prepared folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.files.column_values import texts_of
from recsys.prepare.files.first_line import first_line

MOST_IMPRESSIONS = 1 << 48
"""In all; SentencePiece multiplies them by the number of levels, in 63 bits."""


def counts_of(items: pl.Series, counts: Path, vocabulary: Path | None) -> NDArray[np.int64]:
    """Impressions [M] of items; 0 of those that the counts do not have.

    Args:
        items: [M].
        counts: of ids, columns id and count.
        vocabulary: what ids stand for, columns id and value; without it items are ids.

    Raises:
        ValueError: if a file is missing, lacks a column, says two things of an id or counts what cannot be, or no item
            is among them.
    """
    found = _columns(counts, "--counts", ("id", "count"))
    _refuse_unless_whole(found["count"], f"--counts: '{counts}'")
    if found["count"].cast(pl.Float64).sum() > MOST_IMPRESSIONS:
        raise ValueError(f"--counts: '{counts}' counts more than {MOST_IMPRESSIONS:,} impressions in all.")
    names = found.select(value=pl.col("id").cast(pl.String), count="count")
    if vocabulary is not None:
        named = _columns(vocabulary, "--vocabulary", ("id", "value"))
        values = texts_of(named["value"], f"--vocabulary: column 'value' of '{vocabulary}'")
        _refuse_unless_once(values, f"--vocabulary: '{vocabulary}'")
        names = found.join(named.with_columns(value=values), on="id").select("value", "count")
    asked = pl.DataFrame({"value": texts_of(items, "codes: column 'item'")})
    frame = asked.join(names, on="value", how="left", maintain_order="left")
    if frame["count"].null_count() == len(frame):
        raise ValueError(f"--counts: no item is among the ids of '{counts}'; is --vocabulary the one of that folder?")
    return frame["count"].fill_null(0).to_numpy().astype(np.int64)


def _columns(path: Path, option: str, names: Sequence[str]) -> pl.DataFrame:
    """Columns of a file, the first of which holds ids, each once."""
    if not path.is_file():
        raise ValueError(f"{option}: file '{path}' does not exist.")
    try:
        frame = pl.read_parquet(path, glob=False)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise ValueError(f"{option}: '{path}' cannot be read as a Parquet file ({first_line(error)}).") from error
    if not set(names) <= set(frame.columns):
        raise ValueError(f"{option}: '{path}' must have columns {', '.join(names)}, got {', '.join(frame.columns)}.")
    _refuse_unless_whole(frame["id"], f"{option}: '{path}'")
    _refuse_unless_once(frame["id"], f"{option}: '{path}'")
    return frame.select(pl.col("id").cast(pl.Int64), names[1])


def _refuse_unless_whole(values: pl.Series, where: str) -> None:
    if not values.dtype.is_integer() or values.null_count():
        raise ValueError(f"{where}: column '{values.name}' must hold whole numbers without a null, got {values.dtype}.")
    outside = values.filter((values.cast(pl.Int64, strict=False) < 0).fill_null(True))
    if len(outside):
        raise ValueError(f"{where}: column '{values.name}' must be at least 0 and below 2**63, got {outside[0]}.")


def _refuse_unless_once(values: pl.Series, where: str) -> None:
    if values.null_count():
        raise ValueError(f"{where}: {values.null_count()} rows of column '{values.name}' are missing.")
    if values.n_unique() != len(values):
        twice = values.filter(values.is_duplicated())[0]
        raise ValueError(f"{where}: {values.name} {twice!r} is there twice, and says two things.")
