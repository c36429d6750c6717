"""What a log's files say of its items, with the names, types and ids checked before any of it is used."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys.prepare.files.column_values import is_plain
from recsys.prepare.files.event_times import SECOND
from recsys.prepare.sessions.log import ItemColumn, Kind

LIST_SEPARATOR = "|"
LARGEST_FLOAT32 = float(np.finfo(np.float32).max)
RESERVED = ("item", "user")
SUITABLE: dict[Kind, str] = {
    "categorical": "numbers or texts (lists are multi_valued)",
    "multi_valued": f"lists of numbers or texts, or texts like a{LIST_SEPARATOR}b",
    "dense": "numbers",
    "bins": "numbers",
    "text": "texts",
    "vector": "lists of numbers, in a Parquet file",
}


def check_names(columns: Sequence[ItemColumn]) -> None:
    """Refuse names that the prepared folder cannot keep apart or cannot use as names of files.

    Raises:
        ValueError: a name is one of RESERVED, is given twice, or is no name of a file.
    """
    names = [column.name for column in columns]
    for place, name in enumerate(names):
        problem = None
        if name in RESERVED:
            problem = f"the prepared folder has a column '{name}' of its own; rename yours in the file"
        elif name in names[:place]:
            problem = "the name is given twice; give each column once"
        elif not name or name in (".", "..") or any(character in name for character in "/\\\0"):
            problem = "the name becomes that of a file; rename the column to one without / and \\"
        if problem is not None:
            raise ValueError(f"--item-columns '{name}': {problem}.")


def item_metadata(
    words: str, source: pl.DataFrame, item: str, columns: Sequence[ItemColumn], log: pl.Series
) -> pl.DataFrame:
    """Column item, of the type of the log's, and the chosen columns: a row per item of the log, its first in `source`.

    Args:
        words: what messages call the source.
        source: a file with a row per item, or the log itself.
        item: the column of its ids.
        columns: the metadata to keep.
        log: the items of the log.

    Raises:
        ValueError: a column's type does not suit its kind, or no item of the source is one of the log.
    """
    for column in columns:
        _check_type(words, source[column.name], column.kind)
    ids = _like(source[item], log)
    in_log = ids.is_in(log.unique().implode())
    if not in_log.any():
        raise ValueError(
            f"--items: no id in column '{item}' of {words} is an item of the log (there '{source[item][0]}', "
            f"{source[item].dtype}; in the log '{log[0]}', {log.dtype}); write the ids alike in both."
        )
    frame = pl.DataFrame([ids.alias("item"), *(_values(source[column.name], column.kind) for column in columns)])
    return frame.filter(in_log).unique("item", keep="first", maintain_order=True)


def _is_text(dtype: pl.DataType) -> bool:
    return isinstance(dtype, pl.String | pl.Categorical | pl.Enum)


def _check_type(words: str, values: pl.Series, kind: Kind) -> None:
    dtype = values.dtype
    if kind == "categorical":
        suits = is_plain(dtype)
    elif kind == "multi_valued":
        suits = _is_text(dtype) or (isinstance(dtype, pl.List) and is_plain(dtype.inner))
    elif kind == "text":
        suits = _is_text(dtype)
    elif kind == "vector":
        suits = isinstance(dtype, pl.List | pl.Array) and dtype.inner.is_numeric()
    else:
        suits = _is_text(dtype) or dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Date | pl.Datetime)
    if not suits:
        raise ValueError(
            f"--item-columns {values.name}:{kind}: column '{values.name}' of {words} is of type {dtype}; "
            f"{kind} takes {SUITABLE[kind]}."
        )


def _like(ids: pl.Series, log: pl.Series) -> pl.Series:
    """Ids in the type of the log's; null where an id has no equal in that type, so '007' and 7.5 never become 7."""
    try:
        converted = ids.cast(log.dtype, strict=False)
        same = converted.cast(ids.dtype, strict=False) == ids
    except pl.exceptions.PolarsError as error:
        raise ValueError(
            f"--items: ids of type {ids.dtype} cannot be compared with the log's, of type {log.dtype}; write the ids "
            "alike in both."
        ) from error
    return converted.set(~same.fill_null(False), None)


def _values(values: pl.Series, kind: Kind) -> pl.Series:
    plain = values.cast(pl.String) if _is_text(values.dtype) else values
    if kind in ("categorical", "text"):
        return plain
    if kind == "vector":
        return plain.cast(pl.List(pl.Float64))
    if kind == "multi_valued":
        return plain.str.split(LIST_SEPARATOR) if plain.dtype == pl.String else plain
    return _numbers(plain)


def _numbers(values: pl.Series) -> pl.Series:
    """Float64 numbers; of dates and times the seconds since 1970, in whatever unit a file keeps them."""
    if isinstance(values.dtype, pl.Date | pl.Datetime):
        values = values.cast(pl.Datetime("us")).dt.epoch("us") / SECOND
    numbers = values.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & values.is_not_null() & (values.cast(pl.String).str.strip_chars() != "")
    large = numbers.is_not_nan() & ~(numbers.abs() <= LARGEST_FLOAT32)
    for wrong, problem in ((bad, "not a number"), (large, "too large to stay a finite float32")):
        if wrong.any():
            value = values.filter(wrong.fill_null(False))[0]
            raise ValueError(f"--item-columns: column '{values.name}' holds '{value}', {problem}.")
    return numbers.fill_nan(None)
