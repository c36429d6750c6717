"""Rows cut into slices: by the values of a column, by how often an id occurs in training, by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from recsys.evaluation.calibration import equal_parts
from recsys.evaluation.numbering import MISSING, canonical, decoded, is_list, numbered, numbered_together
from recsys.evaluation.tables import TableFiles

Flags = NDArray[np.bool_]
Values = NDArray[np.float64]

MAX_VALUES = 20
FREQUENCY_NAMES = ("head", "torso", "tail", "unseen")
_HEAD_FRACTION, _TORSO_FRACTION = 0.5, 0.9

Slices = dict[str, Flags]
"""Which rows belong to each slice, [N] by name."""


def by_value(column: pa.Array, name: str, weights: Values | None = None, max_values: int = MAX_VALUES) -> Slices:
    """A slice for each of the values with most rows, by their weight, one for all others and one for missing values.

    Of a column of lists, a row belongs to the slices of all values in its list.

    Raises:
        ValueError: the column holds what cannot be numbered.
    """
    if is_list(column.type):
        rows, values = _members(column)
    else:
        rows, values = np.arange(len(column)), column
    found = numbered(values, name)
    labels = np.array([*found.labels, MISSING], dtype=object)
    each = np.ones(len(column)) if weights is None else weights
    sums = np.bincount(np.where(found.codes < 0, len(labels) - 1, found.codes), each[rows], len(labels))
    by_size = np.lexsort((labels[:-1].astype(str), -sums[:-1]))
    slices = {labels[code]: _rows(rows[found.codes == code], len(column)) for code in by_size[:max_values]}
    if len(by_size) > max_values:
        is_other = np.isin(found.codes, by_size[max_values:])
        slices[f"{len(by_size) - max_values:,} other values"] = _rows(rows[is_other], len(column))
    slices[MISSING] = _rows(rows[found.codes < 0], len(column))
    return slices


def by_frequency(ids: pa.Array, name: str, counts: Path, weights: Values | None = None) -> Slices:
    """Head, torso and tail by how often the id occurs in training; ids that do not occur, and rows without one, apart.

    The most frequent ids that make up half of the training rows are the head, those that make up the next 40 % the
    torso; ids of equal counts are in one slice. Id 0, which stands for all rare values in prepared data, is one id.

    Raises:
        ValueError: the file is missing, has no columns id and count, an id twice, or counts that are not whole.
    """
    known, occurrences = _counts(counts)
    mine, theirs = numbered_together([ids, known], name)
    if len(np.unique(theirs.codes)) < len(known) or (theirs.codes < 0).any():
        raise ValueError(f"{counts}: every id must occur once, and none be missing.")
    count = np.zeros(len(mine.values) + 1)  # the last is of missing ids
    count[theirs.codes] = occurrences
    kinds = _kinds(count)[mine.codes]
    kinds[mine.codes < 0] = len(FREQUENCY_NAMES)
    return {part: kinds == kind for kind, part in enumerate((*FREQUENCY_NAMES, MISSING))}


def by_time(times: pa.Array, name: str, weights: Values | None = None, num_slices: int = 10) -> Slices:
    """Consecutive spans with rows of equal weight each; rows of one instant stay together.

    Raises:
        ValueError: the column is neither numbers nor timestamps, or a time is missing.
    """
    values = _times(times, name)
    edges = equal_parts(values, weights, num_slices)
    spans = np.searchsorted(edges, values, "right") - 1
    return {f"from {edge}": spans == span for span, edge in enumerate(edges)}


def _kinds(count: Values) -> NDArray[np.int64]:
    """Place in FREQUENCY_NAMES of ids that occur so often, [V]."""
    order = np.argsort(-count)
    falling = -count[order]
    # What is more frequent than an id; ids of one count have the same before them.
    before = np.concatenate([[0.0], np.cumsum(-falling)])[np.searchsorted(falling, falling, "left")]
    kinds = np.empty(len(count), dtype=np.int64)
    total = max(1.0, float(count.sum()))
    kinds[order] = np.searchsorted([_HEAD_FRACTION * total, _TORSO_FRACTION * total], before, "right")
    kinds[count == 0] = FREQUENCY_NAMES.index("unseen")
    return kinds


def _counts(path: Path) -> tuple[pa.Array, Values]:
    """Ids and how often each occurs."""
    if not path.exists():
        raise ValueError(f"{path}: the file of counts does not exist; data_scripts write them to counts/.")
    table = TableFiles([path])
    if not {"id", "count"} <= set(table.columns):
        raise ValueError(f"{path}: must have columns id and count, got {', '.join(table.columns)}.")
    occurrences = []
    for part in table.parts(["id", "count"]):
        values = part.numbers("count").astype(np.float64)
        part.refuse("count", ~((values >= 0) & (values == np.floor(values))), "must be a whole number", values)
        occurrences.append(values)
    return table.column("id"), np.concatenate(occurrences)


def _times(column: pa.Array, name: str) -> NDArray[np.generic]:
    values = decoded(column)
    if pa.types.is_large_string(values.type):
        values = _parsed_times(values, name)
    if not (pa.types.is_timestamp(values.type) or pa.types.is_date(values.type) or _is_number(values.type)):
        raise ValueError(f"column '{name}': times must be timestamps, dates or numbers, got {values.type}.")
    if values.null_count:
        raise ValueError(f"column '{name}': {values.null_count:,} rows have no time.")
    times: NDArray[np.generic] = values.to_numpy(zero_copy_only=False)
    if times.dtype.kind == "f" and not np.isfinite(times).all():
        raise ValueError(f"column '{name}': {np.count_nonzero(~np.isfinite(times)):,} times are not finite.")
    return times


def _parsed_times(texts: pa.Array, name: str) -> pa.Array:
    """A CSV's times: whole numbers, other numbers, or ISO 8601, whichever all of them are."""
    for kind in (pa.int64(), pa.float64(), pa.timestamp("us"), pa.timestamp("us", "UTC")):
        try:
            return texts.cast(kind)
        except pa.ArrowInvalid:
            continue
    raise ValueError(
        f"column '{name}': times must all be numbers or all be written as 2024-01-31 or 2024-01-31 23:59:59, "
        f"got '{texts[0].as_py()}'."
    )


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _members(column: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """Row and value of every member of a list, and of the missing value that rows without members have."""
    rows = pc.list_parent_indices(column).to_numpy().astype(np.int64)
    without = np.setdiff1d(np.arange(len(column)), rows)
    members = canonical(pc.list_flatten(column))
    return np.concatenate([rows, without]), pa.chunked_array([members, pa.nulls(len(without), members.type)])


def _rows(chosen: NDArray[np.int64], num_rows: int) -> Flags:
    found = np.zeros(num_rows, dtype=bool)
    found[chosen] = True
    return found
