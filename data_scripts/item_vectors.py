"""Texts and vectors among what a log's files say of its items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray
from session_log import ItemColumn, Vectors


def texts_of(metadata: pl.DataFrame, columns: Sequence[ItemColumn]) -> pl.DataFrame | None:
    """Columns item and text, the item's columns of text one after the other; None without such columns."""
    names = [column.name for column in columns if column.kind == "text"]
    if not names:
        return None
    return metadata.select("item", text=pl.concat_str(names, separator=" ", ignore_nulls=True))


def vectors_of(metadata: pl.DataFrame, columns: Sequence[ItemColumn]) -> dict[str, Vectors]:
    """The vectors of every column of vectors, of those items that have one.

    Raises:
        ValueError: a column has no vectors, or vectors of several widths, or values that are not finite.
    """
    found = {}
    for column in columns:
        if column.kind == "vector":
            known = metadata.select("item", column.name).filter(pl.col(column.name).list.len() > 0)
            found[column.name] = known["item"], _matrix(known[column.name])
    return found


def _matrix(vectors: pl.Series) -> NDArray[np.float32]:
    """[M, T] of M lists of one length T."""
    name, lengths = vectors.name, vectors.list.len().unique().sort()
    if len(lengths) != 1:
        widths = f"of widths {', '.join(map(str, lengths))}; make them equal" if len(lengths) else "in no row"
        raise ValueError(f"--item-columns {name}:vector: column '{name}' has vectors {widths}.")
    matrix = vectors.explode().to_numpy().astype(np.float32).reshape(len(vectors), -1)
    if not np.isfinite(matrix).all():
        raise ValueError(f"--item-columns {name}:vector: column '{name}' has a value that is no finite number.")
    return matrix
