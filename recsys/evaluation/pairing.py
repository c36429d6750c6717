"""Which rows of two files are of the same event: joined by a key, or row by row where all that they share is equal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from recsys.evaluation.numbering import Codes, numbered_together
from recsys.evaluation.tables import TableFiles

Places = NDArray[np.int64]

OUTPUTS = ("score", "logit", "scores", "items", "rank")
"""Columns that are a model's own, and differ between two models."""
_OTHER_ROWS = "the two predictions are not of the same rows"


@dataclass(frozen=True)
class Pairing:
    """Rows of two files, pair by pair.

    Args:
        first: [M] places in the first file, rising.
        second: [M] places in the second.
        notes: what a reader must know of it.
    """

    first: Places
    second: Places
    notes: tuple[str, ...] = ()


def pair(
    first: TableFiles,
    second: TableFiles,
    num_rows: tuple[int, int],
    key: Sequence[str],
    cut_by: Sequence[str],
    checked: Sequence[str],
) -> Pairing:
    """Pair the rows of two tables.

    Args:
        first: a table.
        second: another.
        num_rows: of both.
        key: columns that tell one row from all others; rows of one table only are left out, and counted. Without a key
            rows are paired as they stand, if all columns that both have are equal.
        cut_by: columns that groups and slices are made of, which must be equal too.
        checked: columns that need not be, because they are scores or are compared elsewhere.

    Raises:
        ValueError: a key is missing, or stands in several rows; without a key, if something differs.
    """
    return _by_key(first, second, key) if key else _by_place(first, second, num_rows, cut_by, checked)


def _by_key(first: TableFiles, second: TableFiles, key: Sequence[str]) -> Pairing:
    for table in (first, second):
        table.require(key)
    codes = _codes(first, second, key)
    for table, mine in zip((first, second), codes, strict=True):
        _require_distinct(table, mine, key)
    places = np.full(max(int(each.max()) for each in codes) + 1, -1, dtype=np.int64)
    places[codes[1]] = np.arange(len(codes[1]))
    found = places[codes[0]]
    in_both = np.flatnonzero(found >= 0)
    alone = len(codes[0]) - len(in_both), len(codes[1]) - len(in_both)
    name = " and ".join(f"'{column}'" for column in key)
    if not len(in_both):
        raise ValueError(f"--key {' '.join(key)}: no row of the second file has the {name} of one of the first.")
    note = f"Compared on {len(in_both):,} rows joined by {name}"
    lost = f"; left out: {alone[0]:,} only in the first file, {alone[1]:,} only in the second" if any(alone) else ""
    return Pairing(in_both, found[in_both], (f"{note}{lost}.",))


def _codes(first: TableFiles, second: TableFiles, key: Sequence[str]) -> list[Codes]:
    """Keys of both tables numbered from 0, several columns as one."""
    both: list[Codes] = []
    for name in key:
        columns = [table.column(name) for table in (first, second)]
        numbers = numbered_together(columns, name)
        for table, each in zip((first, second), numbers, strict=True):
            missing = np.flatnonzero(each.codes < 0)
            if len(missing):
                raise ValueError(f"{table.paths[0]}, column '{name}', row {missing[0]}: the key is missing.")
        joined = np.concatenate([each.codes for each in numbers])
        if both:
            # Renumbered after every column, so that the product of two stays within 64 bits.
            joined = np.unique(np.concatenate(both) * (int(joined.max()) + 1) + joined, return_inverse=True)[1]
        both = list(np.split(joined, [len(columns[0])]))
    return both


def _require_distinct(table: TableFiles, codes: Codes, key: Sequence[str]) -> None:
    counts = np.bincount(codes)
    twice = np.flatnonzero(counts[codes] > 1)
    if len(twice):
        value = ", ".join(str(table.column(name)[int(twice[0])].as_py()) for name in key)
        raise ValueError(
            f"{table.paths[0]}: --key {' '.join(key)} must tell one row from all others; '{value}' is in "
            f"{counts[codes[twice[0]]]:,} rows."
        )


def _by_place(
    first: TableFiles,
    second: TableFiles,
    num_rows: tuple[int, int],
    cut_by: Sequence[str],
    checked: Sequence[str],
) -> Pairing:
    if num_rows[0] != num_rows[1]:
        raise ValueError(f"{_OTHER_ROWS}: {num_rows[0]:,} and {num_rows[1]:,} rows; join them by --key.")
    for name in cut_by:
        if name not in second.columns:
            raise ValueError(
                f"{second.paths[0]}: no column '{name}' to see whether its rows are those of {first.paths[0]}; write "
                "it, or join the two by --key."
            )
    shared = [name for name in first.columns if name in second.columns and name not in {*checked, *OUTPUTS}]
    for name in shared:
        _require_equal(name, first.column(name), second.column(name))
    rows = np.arange(num_rows[0])
    equal = ", ".join(f"'{name}'" for name in shared)
    said = f"all columns of both are equal ({equal})" if shared else "beside the labels the files share no column"
    return Pairing(rows, rows, (f"Compared row by row: {said}.",))


def _require_equal(name: str, first: pa.Array, second: pa.Array) -> None:
    differing = _differing(first, second, name)
    if len(differing):
        values = [column[int(differing[0])].as_py() for column in (first, second)]
        raise ValueError(
            f"{_OTHER_ROWS}: column '{name}' differs in {len(differing):,} rows, first in row {differing[0]} "
            f"({values[0]!r} and {values[1]!r}); give both in the same order, or join by --key."
        )


def _differing(first: pa.Array, second: pa.Array, name: str) -> Places:
    """Rows in which two columns have other values."""
    if first.equals(second):
        return np.empty(0, np.int64)
    if pa.types.is_floating(first.type) and pa.types.is_floating(second.type):
        one, two = (column.to_numpy(zero_copy_only=False) for column in (first, second))
        return np.flatnonzero((one != two) & ~(np.isnan(one) & np.isnan(two)))
    if pa.types.is_nested(first.type) or pa.types.is_nested(second.type):
        pairs = zip(first.to_pylist(), second.to_pylist(), strict=True)
        return np.array([row for row, (a, b) in enumerate(pairs) if a != b], dtype=np.int64)
    mine, theirs = numbered_together([first, second], name)
    return np.flatnonzero(mine.codes != theirs.codes)
