"""`recsys prepare check FOLDER`: reads all of a prepared folder, and says everything that is wrong with it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.data.check_warnings import warnings_of
from recsys.data.parquet import ParquetSplit
from recsys.data.schema import Column, Schema
from recsys.data.schema_file import read_object
from recsys.data.sequences import read_sequences
from recsys.data.session_schema import SessionSchema
from recsys.prepare.files.command_parser import CommandParser
from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.unreadable import UNREADABLE


def main(arguments: Sequence[str]) -> int:
    """Check the folders; the exit code is 1 if something is wrong.

    Raises:
        FileNotFoundError: if one is no prepared folder.
    """
    parser = CommandParser(prog="recsys prepare check", description="Read all of a prepared folder.")
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    found = 0
    for folder in parser.parse_args(list(arguments)).folders:
        problems = list(problems_of(folder))
        found += len(problems)
        warnings = [] if problems else [f"WARNING: {each}" for each in warnings_of(_schema_of(folder))]
        count = f"{len(problems)} problem{'s' if len(problems) > 1 else ''}"
        verdict = count if problems else "all is well" if not warnings else "nothing is wrong"
        print("\n".join([*problems, *warnings, f"{folder}: {verdict}"]))
    return 1 if found else 0


def problems_of(folder: Path) -> Iterator[str]:
    """Everything that is wrong with a prepared folder, of clicks or of sessions.

    Raises:
        FileNotFoundError: if it has no schema.json.
    """
    try:
        schema = _schema_of(folder)
    except ValueError as error:
        yield str(error)
        return
    yield from _changed_files(folder)
    if not schema.splits:
        yield f"{folder / 'schema.json'}: splits names no split, so that no row of the folder is read."
    checks = _of_sessions(schema) if isinstance(schema, SessionSchema) else _of_clicks(schema)
    for check in checks:
        try:
            check()
        except ValueError as error:
            yield str(error)


def _schema_of(folder: Path) -> Schema | SessionSchema:
    try:
        is_of_sessions = "num_items" in read_object(folder / "schema.json")
    except (OSError, ValueError):
        is_of_sessions = False
    return SessionSchema.read(folder) if is_of_sessions else Schema.read(folder)


def _changed_files(folder: Path) -> Iterator[str]:
    listed: dict[str, Any] = read_object(folder / "schema.json").get("files", {})
    for name, entry in listed.items():
        path = folder / name
        if "blake2b" in entry and path.is_file():
            with path.open("rb") as stream:
                digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
            if digest != entry["blake2b"]:
                yield f"{path}: holds other bytes than were written."


def _of_clicks(schema: Schema) -> Iterator[Callable[[], None]]:
    for name in _splits_with_rows(schema):
        yield lambda name=name: _read_split(schema, name)  # type: ignore[misc]
    for column in schema.columns:
        if column.num_embeddings is not None:
            yield lambda column=column: _check_column(schema, column)  # type: ignore[misc]


def _splits_with_rows(schema: Schema | SessionSchema) -> list[str]:
    """All but val and test that are said to have none, and have none."""
    return [
        name
        for name, info in schema.splits.items()
        if name == "train" or info.num_rows or any(map(_has_rows, (schema.path / name).glob("*.parquet")))
    ]


def _has_rows(path: Path) -> bool:
    try:
        return bool(pq.read_metadata(path).num_rows)
    except UNREADABLE:
        return True


def _read_split(schema: Schema, name: str) -> None:
    """All rows, and that their labels and weights are what the schema says and a loss can be made of.

    Raises:
        ValueError: naming the split or the file.
    """
    split = ParquetSplit(schema, name, with_keys=True)
    num_clicks, weight = 0.0, 0.0
    for group in range(len(split.group_rows)):
        rows = split.read(group)
        num_clicks += 0 if rows.labels is None else float(rows.labels.sum())
        weight += rows.num_rows if rows.weights is None else float(rows.weights.sum(dtype=np.float64))
    promised = schema.splits[name].label_rate
    if schema.label is not None and promised is not None and abs(promised - num_clicks / split.num_rows) > 1e-6:
        raise ValueError(
            f"{schema.path / 'schema.json'}: split '{name}' has a label_rate of {num_clicks / split.num_rows:.6g}, "
            f"and not {promised:.6g}."
        )
    if not weight > 0:
        raise ValueError(f"{split.folder}: no row has a weight above 0, and nothing counts.")


def _check_column(schema: Schema, column: Column) -> None:
    """Counts of every id from 0, and distinct values of ids from 1, where the folder has them."""
    assert column.num_embeddings is not None
    path = schema.counts_path(column.name)
    if path.is_file():
        counts = _read(path, ("id", "count"))
        ids, numbers = counts["id"].to_numpy(), counts["count"].to_numpy()
        _check_in_order(ids, 0, column.num_embeddings, path)
        if numbers.min(initial=0) < 0:
            raise ValueError(f"{path}: counts must be at least 0, got {numbers.min()}.")
    check_vocabulary(schema.path / "vocabulary" / f"{column.name}.parquet", 1, column.num_embeddings)


def check_vocabulary(path: Path, first: int, stop: int) -> None:
    """Ids [first, stop) in order, each with a value of its own; nothing where there is no such file.

    Raises:
        ValueError: naming the file.
    """
    if not path.is_file():
        return
    table = _read(path, ("id", "value"))
    _check_in_order(table["id"].to_numpy(), first, stop, path)
    if pa.types.is_nested(table["value"].type):
        raise ValueError(f"{path}: column 'value' must hold texts or numbers, got {table['value'].type}.")
    if table["value"].null_count or len(table["value"].unique()) < len(table):
        raise ValueError(f"{path}: every id must have a value of its own.")


def _check_in_order(ids: NDArray[np.int64], first: int, stop: int, path: Path) -> None:
    # Their number first: a schema may say that there are more than memory holds.
    if len(ids) != stop - first or not np.array_equal(ids, np.arange(first, stop)):
        raise ValueError(f"{path}: ids must be {first}..{stop - 1} in order, got {len(ids):,} ids.")


def _read(path: Path, columns: tuple[str, str]) -> pa.Table:
    try:
        table = pq.read_table(path, columns=list(columns)).select(list(columns))
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read as a file with columns {', '.join(columns)} ({first_line(error)})."
        ) from error
    for name in columns:
        if name != "value" and not (pa.types.is_integer(table[name].type) and not table[name].null_count):
            raise ValueError(f"{path}: column '{name}' must hold integers, got {table[name].type}.")
    return table


def _of_sessions(schema: SessionSchema) -> Iterator[Callable[[], object]]:
    for name in _splits_with_rows(schema):
        yield lambda name=name: read_sequences(schema, name)  # type: ignore[misc]
    readers = {"categorical": schema.item_values, "multi_valued": schema.item_bags, "dense": schema.item_numbers}
    for column in schema.item_columns:
        yield lambda column=column: readers[column.kind](column.name)  # type: ignore[misc]
        if column.num_embeddings is not None:
            yield lambda column=column: _check_item_column(schema, column)  # type: ignore[misc]
    for name in schema.vectors:
        yield lambda name=name: schema.item_vectors(name)  # type: ignore[misc]
    yield schema.item_counts
    yield schema.check_item_order
    yield lambda: check_vocabulary(schema.path / "vocabulary" / "item.parquet", 1, schema.num_items + 1)


def _check_item_column(schema: SessionSchema, column: Column) -> None:
    assert column.num_embeddings is not None
    check_vocabulary(schema.path / "vocabulary" / f"{column.name}.parquet", 1, column.num_embeddings)
