"""Values of a column as texts or as numbers, whatever type a file gives it: one value has one text, null none."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from polars.datatypes import DataTypeClass

DIGITS = {"Float16": 11, "Float32": 24, "Float64": 53}
"""From 2 to this power on floats do not tell whole numbers apart."""


def is_plain(dtype: pl.DataType | DataTypeClass) -> bool:
    """Whether values are single ones, which have texts."""
    return not (dtype.is_nested() or dtype in (pl.Binary, pl.Object, pl.Duration))


def exact_ids(values: pl.Series, where: str, option: str) -> pl.Series:
    """Ids that are whole numbers or texts: floats and decimals become what they stand for, NaN nobody.

    Raises:
        ValueError: The values are neither numbers nor texts, or a float is too large to be an exact number.
    """
    if not is_plain(values.dtype):
        raise ValueError(f"{option}: {where} is of type {values.dtype}; give one of numbers or texts.")
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    if not (values.dtype.is_float() or values.dtype.is_decimal()):
        return values
    texts = texts_of(values, f"{option}: {where}")
    whole = texts.cast(pl.Int64, strict=False)
    return whole if whole.null_count() == texts.null_count() else texts


def texts_of(values: pl.Series, where: str) -> pl.Series:
    """Texts, null where a value is missing; 7 of an integer column, 7.0 of floats and 7.00 of decimals are all '7'.

    Raises:
        ValueError: The type has no texts, or a float is too large to be an exact number or is infinite.
    """
    dtype = values.dtype
    if dtype == pl.String:
        return values
    if dtype.is_float():
        return _texts_of_floats(values, where)
    if dtype.is_decimal():
        texts = values.cast(pl.String)
        return texts.str.replace(r"\.?0+$", "") if dtype.scale else texts  # type: ignore[attr-defined]
    if isinstance(dtype, pl.Datetime):
        return _texts_of_times(values)
    if dtype.is_integer() or isinstance(dtype, pl.Date | pl.Time | pl.Boolean | pl.Null | pl.Categorical | pl.Enum):
        return values.cast(pl.String)
    raise ValueError(f"{where} is of type {dtype}; a categorical column takes texts or numbers.")


def _texts_of_times(values: pl.Series) -> pl.Series:
    """One instant has one text, in whatever unit and zone files keep it: a zone's are those of UTC."""
    if values.dtype.time_zone is not None:  # type: ignore[attr-defined]
        values = values.dt.convert_time_zone("UTC")
    return values.cast(pl.String).str.replace(r"\.?0+($|\+)", "$1")  # the fraction, which is always there


def _texts_of_floats(values: pl.Series, where: str) -> pl.Series:
    numbers = values.cast(pl.Float64).fill_nan(None)
    if numbers.is_infinite().any():
        raise ValueError(f"{where} holds an infinite number; leave such a cell empty.")
    digits = DIGITS[str(values.dtype)]
    large = (numbers.abs() >= 2**digits).fill_null(False)
    if large.any():
        raise ValueError(
            f"{where} holds {numbers.filter(large)[0]!r}, a float of 2**{digits} or more, where neighbours are one "
            "number; store these ids as integers or texts."
        )
    whole = numbers.cast(pl.Int64, strict=False)
    is_whole = (whole.cast(pl.Float64) == numbers).fill_null(False)
    return whole.cast(pl.String).zip_with(is_whole, values.fill_nan(None).cast(pl.String))


def numbers_of(values: pl.Series, where: str) -> tuple[pl.Series, pl.Series]:
    """Float64 numbers, null where a value is missing or NaN, and which values are no finite numbers.

    Raises:
        ValueError: The type has no numbers.
    """
    dtype = values.dtype
    if dtype == pl.String:
        texts = values.str.strip_chars()
        numbers = texts.replace("", None).cast(pl.Float64, strict=False)
        bad = numbers.is_null() & texts.is_not_null() & (texts != "")
    elif dtype.is_numeric() or isinstance(dtype, pl.Boolean | pl.Null):
        numbers = values.cast(pl.Float64)
        bad = pl.Series([False]).new_from_index(0, len(values))
    else:
        raise ValueError(f"{where} is of type {dtype}; a dense column takes numbers.")
    return numbers.fill_nan(None), (bad | numbers.is_infinite()).fill_null(False)


def lists_of(values: pl.Series, separator: str | None, where: str) -> tuple[pl.Series, NDArray[np.int32]]:
    """The texts of all lists, one list after the other and without missing ones, and how many each row has.

    Args:
        values: Lists, or texts that ``separator`` divides; without one, a text is a list of one.
        separator: Between the values of a text.
        where: File and column, for messages.

    Raises:
        ValueError: The type has no lists of texts.
    """
    if isinstance(values.dtype, pl.List | pl.Array):
        lists = values.cast(pl.List(values.dtype.inner))
    elif separator:
        lists = texts_of(values, where).str.split(separator)
    else:
        lists = texts_of(values, where).reshape((len(values), 1)).cast(pl.List(pl.String))
    lengths = lists.list.len().fill_null(0).to_numpy().astype(np.int64)
    inner = texts_of(lists.filter(pl.Series(lengths > 0)).explode(), where)
    kept = (inner.is_not_null() & (inner != "")).fill_null(False)
    rows = np.repeat(np.arange(len(values)), lengths)[kept.to_numpy()]
    return inner.filter(kept), np.bincount(rows, minlength=len(values)).astype(np.int32)
