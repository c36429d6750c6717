"""Texts and vectors among what a log's files say of its items."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.prepare.sessions.log import ItemColumn, Vectors


def texts_of(metadata: pl.DataFrame, columns: Sequence[ItemColumn]) -> pl.DataFrame | None:
    """Columns item and text, the item's columns of text one after the other; None without such columns."""
    names = [column.name for column in columns if column.kind == "text"]
    if not names:
        return None
    return metadata.select("item", text=pl.concat_str(names, separator=" ", ignore_nulls=True))


def vectors_of(metadata: pl.DataFrame, columns: Sequence[ItemColumn]) -> dict[str, Vectors]:
    """The vectors of every column of vectors, of those items that have one.

    Raises:
        ValueError: no item has a vector of a column, or they are of several widths, or a value is missing, infinite or
            too large for float32.
    """
    found = {}
    for column in columns:
        if column.kind == "vector":
            known = metadata.select("item", vector=column.name).filter(pl.col("vector").list.len() > 0)
            found[column.name] = known["item"], _matrix(known, f"--item-columns {column.name}:vector")
    return found


def _matrix(known: pl.DataFrame, option: str) -> NDArray[np.float32]:
    """[M, T] of M lists of one length T."""
    widths = known["vector"].list.len()
    if not len(known):
        raise ValueError(f"{option}: no item of the log has a vector.")
    if widths.n_unique() > 1:
        other = int((widths != widths[0]).arg_max() or 0)
        raise ValueError(
            f"{option}: item '{known['item'][0]}' has a vector of width {widths[0]}, item '{known['item'][other]}' one "
            f"of {widths[other]}; make them equal."
        )
    values = known["vector"].explode().to_numpy().reshape(len(known), -1)
    with np.errstate(over="ignore"):
        matrix = values.astype(np.float32)
    if not np.isfinite(matrix).all():
        row, place = np.argwhere(~np.isfinite(matrix))[0]
        raise ValueError(
            f"{option}: item '{known['item'][int(row)]}' has the value {values[row, place]} at place {place}, which is "
            "no finite number in float32."
        )
    return matrix
