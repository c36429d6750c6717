"""Anybody's event log: a file and the names of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl
from event_times import microseconds
from session_log import EventLog, ItemColumn, read_file

LIST_SEPARATOR = "|"


@dataclass(frozen=True)
class LogColumns:
    """Names of the columns of a log, and the unit of its times.

    Args:
        user: who, or which session.
        item: what.
        time: when, as a number, a date or an ISO text; None if the rows of a user are in order.
        time_unit: of numbers, a key of MICROSECONDS.
        item_columns: metadata, in the log itself or in a file of items.
    """

    user: str
    item: str
    time: str | None
    time_unit: str
    item_columns: tuple[ItemColumn, ...]


def read_log(path: Path, items_path: Path | None, columns: LogColumns, skip_bad: bool) -> EventLog:
    """Read a log, and items' metadata from `items_path` or else from each item's first event.

    Raises:
        ValueError: a file cannot be read, a column is missing, or, unless skip_bad, a row has no user, item or time.
    """
    raw = read_file(path)
    wanted = {"user": columns.user, "item": columns.item} | ({"time": columns.time} if columns.time else {})
    for option, name in wanted.items():
        _check_column(path, raw, name, f"--{option}")
    events = raw.select(**{role: pl.col(name) for role, name in wanted.items()})
    if columns.time is not None:
        where = f"column '{columns.time}' of '{path}'"
        events = events.with_columns(time=microseconds(events["time"], columns.time_unit, where))
    events, notes = _without_bad(path, raw, events, wanted, skip_bad)
    source = raw if items_path is None else read_file(items_path)
    metadata = None
    if columns.item_columns:
        for column in (columns.item, *(column.name for column in columns.item_columns)):
            _check_column(items_path or path, source, column, "--item-columns")
        metadata = _metadata(source, columns, events["item"].dtype)
    return EventLog(path.stem, events, metadata, columns.item_columns, notes=notes)


def _metadata(source: pl.DataFrame, columns: LogColumns, item_type: pl.DataType) -> pl.DataFrame:
    names = [column.name for column in columns.item_columns]
    frame = source.select(pl.col(columns.item).cast(item_type).alias("item"), *(pl.col(name) for name in names))
    frame = frame.unique("item", keep="first", maintain_order=True)
    for column in columns.item_columns:
        values = frame[column.name]
        if column.kind == "multi_valued" and values.dtype == pl.String:
            frame = frame.with_columns(values.str.split(LIST_SEPARATOR))
        elif column.kind in ("dense", "bins"):
            frame = frame.with_columns(_numbers(values))
    return frame


def _numbers(values: pl.Series) -> pl.Series:
    numbers = values.cast(pl.Float64, strict=False)
    bad = numbers.is_null() & values.is_not_null()
    if bad.any():
        raise ValueError(f"column '{values.name}' holds '{values.filter(bad)[0]}', not a number.")
    return numbers


def _without_bad(
    path: Path, raw: pl.DataFrame, events: pl.DataFrame, names: dict[str, str], skip_bad: bool
) -> tuple[pl.DataFrame, tuple[str, ...]]:
    empty = [(events[role].is_null() | (events[role].cast(pl.String) == "")).fill_null(True) for role in names]
    bad = pl.select(pl.any_horizontal(*empty)).to_series()
    if not bad.any():
        return events, (f"{path.name}: {len(raw):,} rows read, 0 bad rows skipped",)
    row = int(bad.arg_max() or 0)
    role = next(role for role, missing in zip(names, empty, strict=True) if missing[row])
    value, problem = raw[names[role]][row], "not a time" if role == "time" else f"no {role}"
    where = f"{path.name}, row {row + 1}: column '{names[role]}' holds '{'' if value is None else value}', {problem}"
    if not skip_bad:
        raise ValueError(f"{where}. Mend the row, or pass --on-bad-line skip.")
    if bad.all():
        raise ValueError(f"{path.name} has no usable row; {where}.")
    note = f"{path.name}: {len(raw):,} rows read, {bad.sum():,} bad rows skipped (the first: {where})"
    return events.filter(~bad), (note,)


def _check_column(path: Path, frame: pl.DataFrame, name: str, option: str) -> None:
    if name not in frame.columns:
        close = get_close_matches(name, frame.columns, 1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        raise ValueError(f"{option}: '{path}' has no column '{name}'{hint} (columns: {', '.join(frame.columns)})")
