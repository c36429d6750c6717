"""Rows cut into slices: by the values of a column, by how often an id occurs in training, by time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

MAX_VALUES = 20
FREQUENCY_NAMES = ("head", "torso", "tail", "unseen")
_HEAD_FRACTION, _TORSO_FRACTION = 0.5, 0.9

Slices = dict[str, NDArray[np.bool_]]
"""Which rows belong to each slice, [N] by name."""


def by_value(column: pa.Array, max_values: int = MAX_VALUES) -> Slices:
    """A slice for each of the most frequent values, and one for all others."""
    encoded = column.dictionary_encode(null_encoding="encode")
    codes = encoded.indices.to_numpy(zero_copy_only=False)
    counts = np.bincount(codes, minlength=len(encoded.dictionary))
    order = np.argsort(-counts, kind="stable")
    found: Slices = {str(encoded.dictionary[int(code)].as_py()): codes == code for code in order[:max_values]}
    if len(order) > max_values:
        found[f"{len(order) - max_values:,} other values"] = ~np.isin(codes, order[:max_values])
    return found


def by_frequency(ids: pa.Array, counts: Path) -> Slices:
    """Head, torso and tail by how often the id occurs in training; unseen ids apart.

    The most frequent ids that make up half of the training rows are the head, those that make up the next 40 % the
    torso. Id 0 stands for rare and unseen values and counts as unseen.

    Raises:
        ValueError: the file is missing, has no columns id and count, or the ids are not whole numbers.
    """
    if not counts.is_file():
        raise ValueError(f"{counts}: the file of counts does not exist; data_scripts write them to counts/.")
    table = pq.read_table(counts)
    if not {"id", "count"} <= set(table.column_names):
        raise ValueError(f"{counts}: must have columns id and count, got {', '.join(table.column_names)}.")
    if not pa.types.is_integer(ids.type):
        raise ValueError(f"ids must be whole numbers to be sliced by frequency, got {ids.type}.")
    known, occurrences = table["id"].to_numpy(), table["count"].to_numpy().astype(np.int64)
    values = pc.fill_null(ids, 0).to_numpy(zero_copy_only=False)
    num_ids = int(max(known.max(initial=0), values.max(initial=0))) + 1
    count = np.zeros(num_ids, dtype=np.int64)
    count[known] = occurrences
    count[0] = 0
    order = np.argsort(-count, kind="stable")
    before = np.cumsum(count[order]) - count[order]
    total = max(1, int(count.sum()))
    kinds = np.empty(num_ids, dtype=np.int64)
    kinds[order] = np.searchsorted([_HEAD_FRACTION * total, _TORSO_FRACTION * total], before, "right")
    kinds[count == 0] = FREQUENCY_NAMES.index("unseen")
    return {name: kinds[values] == kind for kind, name in enumerate(FREQUENCY_NAMES)}


def by_time(times: pa.Array, num_slices: int = 10) -> Slices:
    """Consecutive spans with equally many rows; rows of one instant stay together.

    Raises:
        ValueError: the column is neither numbers nor timestamps, or a time is missing.
    """
    if times.null_count:
        raise ValueError(f"time: {times.null_count} rows have none.")
    if not (pa.types.is_temporal(times.type) or pa.types.is_integer(times.type) or pa.types.is_floating(times.type)):
        raise ValueError(f"time: must be timestamps or numbers, got {times.type}.")
    values = times.to_numpy(zero_copy_only=False)
    edges = np.unique(np.sort(values)[np.linspace(0, len(values), num_slices, endpoint=False).astype(int)])
    spans = np.searchsorted(edges, values, "right") - 1
    return {f"from {edge}": spans == span for span, edge in enumerate(edges)}
