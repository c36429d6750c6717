"""When an event happened, as whole microseconds since 1970, whatever a log writes."""

from __future__ import annotations

import polars as pl

MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
SECOND = MICROSECONDS["s"]
LIMIT = 2**63 - 1


def microseconds(values: pl.Series, unit: str, where: str) -> pl.Series:
    """Int64 microseconds; null where a value is not a time, or is one too far away to count.

    Args:
        values: numbers, dates, datetimes, or texts of numbers or of ISO times (UTC where they name no zone).
        unit: of numbers, a key of MICROSECONDS. Whole numbers stay exact; others are rounded to a microsecond.
        where: file and column, for messages.

    Raises:
        ValueError: values are of another kind, or some texts are numbers and others ISO times.
    """
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return values.cast(pl.Datetime("us")).dt.epoch("us")
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if values.dtype == pl.String:
        return _of_texts(values, unit, where)
    if values.dtype.is_numeric():
        return _of_numbers(values, unit)
    raise ValueError(f"--time: {where} is of type {values.dtype}; give numbers, dates or texts of them.")


def _of_texts(texts: pl.Series, unit: str, where: str) -> pl.Series:
    decimal = texts.cast(pl.Float64, strict=False)
    whole = _of_numbers(texts.cast(pl.Int64, strict=False), unit)
    found = whole.zip_with(whole.is_not_null(), _of_numbers(decimal, unit))
    others = texts.set(decimal.is_not_null(), None)
    if others.null_count() == len(others):
        return found
    dates = others.str.to_datetime(strict=False, time_unit="us", time_zone="UTC").dt.epoch("us")
    if found.null_count() == len(found):
        return dates
    if dates.null_count() < len(dates):
        raise ValueError(
            f"--time: {where} has numbers ('{texts.filter(found.is_not_null())[0]}') and ISO texts "
            f"('{texts.filter(dates.is_not_null())[0]}'); write all times one way."
        )
    return found


def _of_numbers(numbers: pl.Series, unit: str) -> pl.Series:
    ticks = MICROSECONDS[unit]
    if numbers.dtype.is_integer():
        whole = numbers.cast(pl.Int64, strict=False)
        return whole.set(~whole.is_between(-(LIMIT // ticks), LIMIT // ticks).fill_null(True), None) * ticks
    return (numbers.cast(pl.Float64) * ticks).round().cast(pl.Int64, strict=False)
