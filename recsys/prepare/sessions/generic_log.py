"""Anybody's event log: a file and the names of its columns."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import polars as pl

from recsys.prepare.files.event_times import microseconds
from recsys.prepare.files.raw_table import RawTable, read_table
from recsys.prepare.sessions.item_metadata import check_ids, check_names, item_metadata
from recsys.prepare.sessions.item_vectors import texts_of, vectors_of
from recsys.prepare.sessions.log import EventLog, ItemColumn


@dataclass(frozen=True)
class LogColumns:
    """Names of the columns of a log, and the unit of its times.

    Args:
        user: who, or which session.
        item: what.
        time: when, as a number, a date or an ISO text; None if the rows of a user are in order.
        time_unit: of numbers, a key of MICROSECONDS.
        item_columns: metadata, in the log itself or in a file of items.

    Raises:
        ValueError: a name of metadata is reserved, is given twice or is no name of a file.
    """

    user: str
    item: str
    time: str | None
    time_unit: str
    item_columns: tuple[ItemColumn, ...]

    def __post_init__(self) -> None:
        """Refuse names of metadata that cannot be kept."""
        check_names(self.item_columns)


def read_log(path: Path, items_path: Path | None, columns: LogColumns, skip_bad: bool) -> EventLog:
    """Read a log, and items' metadata from `items_path` or else from each item's first event.

    Raises:
        ValueError: a file cannot be read, a column is missing or of an unsuitable type, some times are numbers and
            others ISO texts, no item of `items_path` is in the log, or, unless skip_bad, a line cannot be read or has
            no user, item or time.
    """
    raw = read_table(path, skip_bad)
    wanted = {"user": columns.user, "item": columns.item} | ({"time": columns.time} if columns.time else {})
    for option, name in wanted.items():
        _check_column(path, raw.frame, name, f"--{option}")
    for role in ("user", "item"):
        check_ids(path, raw.frame[wanted[role]], f"--{role}")
    events = raw.frame.select(**{role: pl.col(name) for role, name in wanted.items()})
    if columns.time is not None:
        where = f"column '{columns.time}' of '{path}'"
        events = events.with_columns(time=microseconds(events["time"], columns.time_unit, where))
    events, note = _without_bad(raw, events, wanted, skip_bad)
    items = raw if items_path is None else read_table(items_path, skip_bad)
    metadata = None
    if columns.item_columns:
        for column in (columns.item, *(column.name for column in columns.item_columns)):
            _check_column(items.path, items.frame, column, "--item-columns")
        metadata = item_metadata(items.path, items.frame, columns.item, columns.item_columns, events["item"])
    notes = (f"{raw.note}, {note}", *(() if items_path is None else (items.note,)))
    if metadata is None:
        return EventLog(path.stem, events, notes=notes)
    return EventLog(
        path.stem,
        events,
        metadata,
        tuple(column for column in columns.item_columns if column.kind not in ("text", "vector")),
        vectors_of(metadata, columns.item_columns),
        texts_of(metadata, columns.item_columns),
        notes,
    )


def _without_bad(
    raw: RawTable, events: pl.DataFrame, names: dict[str, str], skip_bad: bool
) -> tuple[pl.DataFrame, str]:
    """Events that have all they need, and how many were left out."""
    empty = [(events[role].is_null() | (events[role].cast(pl.String) == "")).fill_null(True) for role in names]
    bad = pl.select(pl.any_horizontal(*empty)).to_series()
    if not bad.any():
        return events, "0 bad rows skipped"
    row = int(bad.arg_max() or 0)
    role = next(role for role, missing in zip(names, empty, strict=True) if missing[row])
    value, problem = (
        raw.frame[names[role]][row],
        "not a time, or too large for --time-unit" if role == "time" else f"no {role}",
    )
    holds = f"column '{names[role]}' holds '{'' if value is None else value}', {problem}"
    where = f"{raw.path.name}, row {raw.rows[row]}: {holds}"
    if not skip_bad:
        raise ValueError(f"{where}. Mend the row, or pass --on-bad-line skip to leave it out.")
    if bad.all():
        raise ValueError(f"{raw.path.name} has no usable row; {where}.")
    return events.filter(~bad), f"{bad.sum():,} bad rows skipped (the first: {where})"


def _check_column(path: Path, frame: pl.DataFrame, name: str, option: str) -> None:
    if name not in frame.columns:
        close = get_close_matches(name, frame.columns, 1)
        hint = f"; did you mean '{close[0]}'?" if close else "."
        raise ValueError(f"{option}: '{path}' has no column '{name}'{hint} (columns: {', '.join(frame.columns)})")
