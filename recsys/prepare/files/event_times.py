"""When something happened, as whole microseconds since 1970, in forms that are said and never guessed."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

MICROSECONDS = {"us": 1, "ms": 1_000, "s": 1_000_000, "min": 60_000_000}
SECOND = MICROSECONDS["s"]
LIMIT = 2**63 - 1
FIRST_YEAR, LAST_YEAR = 1900, 2200
"""A time outside of these is none: programs write 0001-01-01 or 9999-12-31 for a missing one."""
ISO = (
    r"^(?P<date>\d{4}-\d{2}-\d{2})(?:[T ](?P<minute>\d{2}:\d{2})(?P<second>:\d{2})?(?:[.,](?P<part>\d{1,9}))?"
    r"(?: ?(?P<zone>Z|UTC|[+-](?:0\d|1[0-4]):?[0-5]\d))?)?$"
)


def check_time_words(time: str | None, unit: str | None, format: str | None) -> None:
    """Refuse words of --time-unit and --time-format that no time is read by.

    Raises:
        ValueError: There is no column of times, or both are given.
    """
    if time is None and (unit is not None or format is not None):
        raise ValueError("--time-unit and --time-format say how times are written; give --time.")
    if unit is not None and format is not None:
        raise ValueError(
            f"--time-unit {unit} is of numbers, and --time-format '{format}' of texts; give the one that --time has."
        )


def microseconds(values: pl.Series, unit: str, where: str, format: str | None = None) -> pl.Series:
    """Int64 microseconds; null where a value is not a time, or is one of no year from 1900 to 2200.

    Args:
        values: numbers, dates, datetimes, or texts of numbers or of ISO times (UTC where they name no zone).
        unit: of numbers, a key of MICROSECONDS. Whole numbers stay exact; others are rounded to a microsecond.
        where: file and column, for messages.
        format: of texts, in strftime's words, instead of ISO; numbers are then taken for texts too.

    Raises:
        ValueError: values are of another kind, some texts are numbers and others ISO times, or numbers are dates
            written without separators, or of a year after 2200.
    """
    if format == "":
        raise ValueError("--time-format must say how times are written, such as %d/%m/%Y, got ''; or leave it out.")
    if isinstance(values.dtype, pl.Datetime | pl.Date):
        return _of_our_age(values.cast(pl.Datetime("us")).dt.epoch("us"))
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        values = values.cast(pl.String)
    if format is not None and (values.dtype == pl.String or values.dtype.is_integer()):
        return _of_our_age(_of_format(values.cast(pl.String).str.strip_chars(), format, where))
    if values.dtype == pl.String:
        return _of_texts(values, unit, where)
    if values.dtype.is_numeric():
        return _plausible(values, _of_numbers(values, unit), unit, where)
    raise ValueError(f"--time: {where} is of type {values.dtype}; give numbers, dates or texts of them.")


def _of_texts(texts: pl.Series, unit: str, where: str) -> pl.Series:
    decimal = texts.cast(pl.Float64, strict=False)
    whole = _of_numbers(texts.cast(pl.Int64, strict=False), unit)
    found = whole.zip_with(whole.is_not_null(), _of_numbers(decimal, unit))
    others = texts.set(decimal.is_not_null(), None)
    if others.null_count() == len(others):
        return _plausible(texts, found, unit, where)
    dates = _of_iso(others)
    if found.null_count() == len(found):
        return _of_our_age(dates)
    if dates.null_count() < len(dates):
        raise ValueError(
            f"--time: {where} has numbers ('{texts.filter(found.is_not_null())[0]}') and ISO texts "
            f"('{texts.filter(dates.is_not_null())[0]}'); write all times one way."
        )
    return _plausible(texts, found, unit, where)


def _of_iso(texts: pl.Series) -> pl.Series:
    parts = texts.str.strip_chars().str.extract_groups(ISO).struct.unnest()
    clock = parts["minute"].fill_null("00:00") + parts["second"].fill_null(":00")
    times = (parts["date"] + "T" + clock).str.to_datetime("%Y-%m-%dT%H:%M:%S", strict=False, time_unit="us")
    part = parts["part"].fill_null("0").str.pad_end(9, "0").str.slice(0, 6).cast(pl.Int64)
    zone = (
        parts["zone"].str.replace(":", "").replace({"Z": None, "UTC": None}).cast(pl.Int64, strict=False).fill_null(0)
    )
    ahead = zone.sign() * (zone.abs() // 100 * 60 + zone.abs() % 100) * MICROSECONDS["min"]
    return times.dt.epoch("us") + part - ahead


def _of_format(texts: pl.Series, format: str, where: str) -> pl.Series:
    try:
        times = texts.str.to_datetime(format, strict=False, time_unit="us", time_zone="UTC" if "%z" in format else None)
        return times.dt.epoch("us")
    except pl.exceptions.PolarsError:
        # A format without a clock makes dates.
        pass
    try:
        return texts.str.to_date(format, strict=False).cast(pl.Datetime("us")).dt.epoch("us")
    except pl.exceptions.PolarsError as error:
        raise ValueError(f"--time-format '{format}' does not suit {where} ({str(error).splitlines()[0]}).") from error


def _of_numbers(numbers: pl.Series, unit: str) -> pl.Series:
    ticks = MICROSECONDS[unit]
    if numbers.dtype.is_integer():
        whole = numbers.cast(pl.Int64, strict=False)
        return whole.set(~whole.is_between(-(LIMIT // ticks), LIMIT // ticks).fill_null(True), None) * ticks
    return (numbers.cast(pl.Float64) * ticks).round().cast(pl.Int64, strict=False)


def _plausible(values: pl.Series, found: pl.Series, unit: str, where: str) -> pl.Series:
    """The times, unless they were read in a unit that is not theirs.

    Raises:
        ValueError: with the unit, or the format, that would make sense.
    """
    known = found if found.null_count() < len(found) else values.cast(pl.Float64, strict=False) * MICROSECONDS[unit]
    largest = known.fill_nan(None).max() if known.dtype.is_float() else known.max()
    if not isinstance(largest, int | float) or largest in (float("inf"), float("-inf")):
        return found
    latest = int(largest)
    last = _start_of(LAST_YEAR)
    if latest > last:
        number = latest // MICROSECONDS[unit]
        other = next((name for name in ("min", "s", "ms", "us") if number * MICROSECONDS[name] <= last), None)
        fix = f"; give --time-unit {other}" if other else ""
        year = 1970 + latest / SECOND / 86_400 / 365.2425
        raise ValueError(f"--time: {where}: the latest time is in the year {year:,.0f} in the unit {unit}{fix}.")
    eight = values.cast(pl.String).str.contains(r"^(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])$")
    if eight.fill_null(True).all():
        raise ValueError(
            f"--time: {where} holds '{values.filter(eight)[0]}', which looks like a date; give --time-format %Y%m%d."
        )
    return _of_our_age(found)


def _of_our_age(times: pl.Series) -> pl.Series:
    """Null where a time lies so far away that it stands for something else."""
    return times.set(~times.is_between(_start_of(FIRST_YEAR), _start_of(LAST_YEAR)).fill_null(True), None)


def _start_of(year: int) -> int:
    """Microseconds."""
    return int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) * SECOND
