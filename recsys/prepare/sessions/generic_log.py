"""Anybody's event log: files and the names of their columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl

from recsys.prepare.files.bad_lines import LOUD_FRACTION
from recsys.prepare.files.column_values import exact_ids
from recsys.prepare.files.event_times import MICROSECONDS, microseconds
from recsys.prepare.files.raw_table import RawTable, read_table
from recsys.prepare.files.text_table import TextFormat
from recsys.prepare.sessions.item_metadata import check_names, item_metadata
from recsys.prepare.sessions.item_vectors import texts_of as item_texts_of
from recsys.prepare.sessions.item_vectors import vectors_of
from recsys.prepare.sessions.log import EventLog, ItemColumn

SPLIT_WORDS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "dev": "val", "test": "test"}


@dataclass(frozen=True)
class LogColumns:
    """Names of the columns of a log, and how they are written.

    Args:
        user: who, or which session.
        item: what.
        time: when, as a number, a date or an ISO text; None if the rows of a user are in order.
        time_unit: of numbers, a key of MICROSECONDS.
        time_format: of times that are other texts, in strftime's words.
        time_beside: a column of milliseconds that are added to the time.
        split: train, val or test; None if the log has no split.
        list_separator: between the items of a cell, where a row is a whole sequence; lists need none.
        items_id: the column of ids in a file of items; None if it is called as in the log.
        item_columns: metadata, in the log itself or in a file of items.
        format: of text files.
        typed_header: whether names of columns end in their types, as in user_id:token.

    Raises:
        ValueError: a name of metadata is reserved, is given twice or is no name of a file, a column has two roles, or
            times are described and not named.
    """

    user: str
    item: str
    time: str | None
    time_unit: str = "s"
    item_columns: tuple[ItemColumn, ...] = ()
    time_format: str | None = None
    time_beside: str | None = None
    split: str | None = None
    list_separator: str | None = None
    items_id: str | None = None
    format: TextFormat = field(default_factory=TextFormat)
    typed_header: bool = False

    def __post_init__(self) -> None:
        """Refuse names of metadata that cannot be kept, a column of two roles, and words about times without any."""
        check_names(self.item_columns)
        roles = list(self.wanted.items())
        for place, (role, name) in enumerate(roles):
            other = next((each for each, same in roles[:place] if same == name), None)
            if other is not None:
                raise ValueError(f"--{other} and --{role} both name column '{name}'; a column is one of them.")
        if self.time is None and (self.time_unit != "s" or self.time_format is not None):
            raise ValueError("--time-unit and --time-format say how times are written; give --time.")

    @property
    def wanted(self) -> dict[str, str]:
        """Columns of events, by what they are."""
        others = {"time": self.time, "split": self.split}
        return {"user": self.user, "item": self.item, **{role: name for role, name in others.items() if name}}


def read_log(
    paths: Sequence[Path], items_paths: Sequence[Path], columns: LogColumns, skip_bad: bool, name: str
) -> EventLog:
    """Read a log, and items' metadata from `items_paths` or else from each item's first event.

    Raises:
        ValueError: a file cannot be read, a column is missing or of an unsuitable type, times are not written in one
            way, no item of `items_paths` is in the log, or, unless skip_bad, a line cannot be read or has no user, item
            or time.
    """
    needed = {column: f"--{role}" for role, column in columns.wanted.items()}
    needed |= {columns.time_beside: "time"} if columns.time_beside is not None else {}
    if not items_paths:
        needed |= {column.name: "--item-columns" for column in columns.item_columns}
    raw = read_table(paths, columns.format, "--raw", skip_bad, needed, columns.typed_header)
    events, origin = _events(raw, columns)
    events = events.with_columns(
        exact_ids(events[role], f"column '{columns.wanted[role]}' of {raw.words}", f"--{role}")
        for role in ("user", "item")
    )
    if columns.time is not None:
        events = events.with_columns(time=_times(raw, events, origin, columns))
    if columns.split is not None:
        words = events["split"].cast(pl.String).str.strip_chars().str.to_lowercase()
        events = events.with_columns(split=words.replace_strict(SPLIT_WORDS, default=None, return_dtype=pl.String))
    events, note = _without_bad(raw, origin, events, columns.wanted, skip_bad)
    notes = [f"{raw.note}, {note}"]
    num_empty = len(raw.frame) - origin.n_unique()
    if num_empty:
        notes.append(f"{num_empty:,} of {len(raw.frame):,} rows have an empty list of items, and are no events")
    if columns.time is None:
        notes.append("no --time: the order of the file is taken for that of time (--split random asks for none)")
    if not columns.item_columns:
        return EventLog(name, events, notes=tuple(notes))
    metadata, more = _metadata(raw, items_paths, events, columns, skip_bad)
    return EventLog(
        name,
        events,
        metadata,
        tuple(column for column in columns.item_columns if column.kind not in ("text", "vector")),
        vectors_of(metadata, columns.item_columns),
        item_texts_of(metadata, columns.item_columns),
        (*notes, *more),
    )


def _metadata(
    raw: RawTable, paths: Sequence[Path], events: pl.DataFrame, columns: LogColumns, skip_bad: bool
) -> tuple[pl.DataFrame, list[str]]:
    """What is known of the log's items, and how many of them nothing is known of."""
    if not paths:
        source = raw.frame.with_columns(
            exact_ids(raw.frame[columns.item], f"column '{columns.item}' of {raw.words}", "--item")
        )
        metadata = item_metadata(raw.words, source, columns.item, columns.item_columns, events["item"])
        return metadata, _varying(source, columns)
    item = columns.items_id or columns.item
    needed = {item: "--items-id" if columns.items_id else "--item"}
    needed |= {column.name: "--item-columns" for column in columns.item_columns}
    items = read_table(paths, columns.format, "--items", skip_bad, needed, columns.typed_header)
    source = items.frame.with_columns(exact_ids(items.frame[item], f"column '{item}' of {items.words}", "--items"))
    metadata = item_metadata(items.words, source, item, columns.item_columns, events["item"])
    every = events["item"].unique(maintain_order=True)
    unknown = every.filter(~every.is_in(metadata["item"].implode()))
    notes = [items.note]
    named = source[item].drop_nulls()
    num_repeated = len(named) - named.n_unique()
    if num_repeated:
        notes.append(f"{num_repeated:,} rows of {items.words} are of an item that an earlier row has; the first counts")
    if len(unknown):
        notes.append(f"{len(unknown):,} of {len(every):,} items are not in {items.words}, the first '{unknown[0]}'")
    return metadata, notes


def _varying(log: pl.DataFrame, columns: LogColumns) -> list[str]:
    """Which columns say several things of one item, as a price or a user does, and of how many items."""
    notes, item = [], columns.item
    for name in [column.name for column in columns.item_columns if column.name != item]:
        values = log.select(item, name).drop_nulls(item).unique()
        num_items = values[item].n_unique()
        num_varying = int((values.group_by(item).len()["len"] > 1).sum())
        if num_varying:
            notes.append(
                f"--item-columns '{name}': {num_varying:,} of {num_items:,} items have several values; the first counts"
            )
    return notes


def _events(raw: RawTable, columns: LogColumns) -> tuple[pl.DataFrame, pl.Series]:
    """Columns by role, a row an event, and the row of the file that each comes from."""
    frame = raw.frame.select(**{role: pl.col(name) for role, name in columns.wanted.items()})
    if columns.time_beside is not None:
        frame = frame.with_columns(beside=raw.frame[columns.time_beside])
    frame = frame.with_row_index("origin")
    if columns.list_separator is not None:
        texts = [role for role in ("item", "time") if role in frame.columns and frame.schema[role] == pl.String]
        frame = frame.with_columns(_divided(frame[role], columns.list_separator) for role in texts)
        if "item" in texts and frame["item"].list.len().max() == 1:
            raise ValueError(
                f"--list-separator {columns.list_separator!r}: no cell of column '{columns.item}' of {raw.words} has "
                "it; give the text between the items, or leave it out where a row is an event."
            )
    lists = [role for role in ("item", "time") if isinstance(frame.schema.get(role), pl.List | pl.Array)]
    if not lists:
        return frame.drop("origin"), frame["origin"]
    if "item" not in lists:
        raise ValueError(f"--time: column '{columns.time}' of {raw.words} holds lists, and '{columns.item}' does not.")
    frame = frame.with_columns(pl.col(role).cast(pl.List(frame.schema[role].inner)) for role in lists)  # type: ignore[attr-defined]
    if len(lists) == 2:
        differs = frame["item"].list.len() != frame["time"].list.len()
        if differs.any():
            row = int(differs.arg_max() or 0)
            num_items, num_times = (frame[role].list.len()[row] for role in ("item", "time"))
            raise ValueError(f"{raw.place(row)}: has {num_items} items and {num_times} times.")
    frame = frame.filter(pl.col("item").list.len() > 0)
    if not len(frame):
        raise ValueError(f"--item: every list of column '{columns.item}' of {raw.words} is empty.")
    frame = frame.explode(lists)
    return frame.drop("origin"), frame["origin"]


def _divided(cells: pl.Series, separator: str) -> pl.Series:
    """The values of each cell; a space belongs to a value, unless spaces are what divides them."""
    return (cells.str.strip_chars() if separator.isspace() else cells).str.split(separator)


def _times(raw: RawTable, events: pl.DataFrame, origin: pl.Series, columns: LogColumns) -> pl.Series:
    where = f"column '{columns.time}' of {raw.words}"
    times = microseconds(events["time"], columns.time_unit, where, columns.time_format)
    if columns.time_beside is None:
        return times
    return times + events["beside"].cast(pl.Int64, strict=False).fill_null(0) * MICROSECONDS["ms"]


def _without_bad(
    raw: RawTable, origin: pl.Series, events: pl.DataFrame, names: dict[str, str], skip_bad: bool
) -> tuple[pl.DataFrame, str]:
    """Events that have all they need, and how many were left out."""
    events = events.select(list(names))
    empty = [(events[role].is_null() | (events[role].cast(pl.String) == "")).fill_null(True) for role in names]
    bad = pl.select(pl.any_horizontal(*empty)).to_series()
    if not bad.any():
        return events, "0 bad rows skipped"
    row = int(bad.arg_max() or 0)
    role = next(role for role, missing in zip(names, empty, strict=True) if missing[row])
    value = raw.frame[names[role]][int(origin[row])]
    value = value.to_list() if isinstance(value, pl.Series) else value
    problem = {
        "time": "not a time, or too large for --time-unit, or not of 1900 to 2200 (see --time-format)",
        "split": f"none of {', '.join(SPLIT_WORDS)}",
    }.get(role, f"no {role}")
    holds = f"column '{names[role]}' holds '{'' if value is None else value}', {problem}"
    where = f"{raw.place(int(origin[row]))}: {holds}"
    if not skip_bad:
        raise ValueError(f"{where}. Mend the row, or pass --on-bad-line skip to leave it out.")
    if bad.all():
        raise ValueError(f"{raw.words} has no usable row; {where}.")
    loud = "; WARNING: that is more than a tenth" if bad.sum() > LOUD_FRACTION * len(bad) else ""
    return events.filter(~bad), f"{bad.sum():,} bad rows skipped (the first: {where}){loud}"
