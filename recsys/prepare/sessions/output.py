"""Write sequences and items of a prepared folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.prepare.files.event_times import SECOND
from recsys.prepare.sessions.splits import Flat, SplitRows

Ints = NDArray[np.int64]

GROUP_ROWS = 65_536


def write_split(folder: Path, rows: SplitRows, users: Ints, items: Ints, times: Ints | None) -> dict[str, int]:
    """Write one file of row groups of 65,536 rows, and return what schema.json says of the split.

    Columns: user; items, a list of ids; times, a list of whole seconds, if there are any
    (given in microseconds); target, but not in training.
    """
    folder.mkdir()
    ids = pa.list_(pa.int32())
    columns = [("user", pa.int64()), ("items", ids)]
    columns += [] if times is None else [("times", pa.list_(pa.int64()))]
    columns += [] if rows.target is None else [("target", pa.int32())]
    schema = pa.schema(columns)
    with pq.ParquetWriter(folder / "part-00000.parquet", schema, compression="zstd") as writer:
        for first in range(0, len(rows.start), GROUP_ROWS):
            chosen = slice(first, first + GROUP_ROWS)
            writer.write_table(pa.table(_columns(rows, chosen, users, items, times), schema=schema))
    num_targets = 0 if rows.target is None else len(rows.target)
    num_events = int((rows.stop - rows.start).sum())
    return {"num_rows": len(rows.start), "num_events": num_events, "num_targets": num_targets}


def _columns(rows: SplitRows, chosen: slice, users: Ints, items: Ints, times: Ints | None) -> dict[str, pa.Array]:
    start, stop = rows.start[chosen], rows.stop[chosen]
    lengths = stop - start
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(start - offsets[:-1], lengths) + np.arange(offsets[-1])
    arrow_offsets = pa.array(offsets.astype(np.int32))
    columns = {
        "user": pa.array(users[rows.sequence[chosen]]),
        "items": pa.ListArray.from_arrays(arrow_offsets, pa.array(items[places].astype(np.int32))),
    }
    if times is not None:
        columns["times"] = pa.ListArray.from_arrays(arrow_offsets, pa.array(times[places] // SECOND))
    if rows.target is not None:
        columns["target"] = pa.array(items[rows.target[chosen]].astype(np.int32))
    return columns


def write_counts(folder: Path, counts: Ints) -> None:
    """Write counts/item.parquet: how many training events each id has."""
    (folder / "counts").mkdir()
    frame = pl.DataFrame({"id": np.arange(len(counts)), "count": counts})
    frame.write_parquet(folder / "counts" / "item.parquet")


def write_vocabularies(folder: Path, vocabularies: dict[str, pl.Series]) -> None:
    """Write vocabulary/NAME.parquet: the value of ids 1, 2, ..., and of users, who need no padding, from 0."""
    (folder / "vocabulary").mkdir()
    for name, values in vocabularies.items():
        ids = np.arange(len(values)) + (name != "user")
        frame = pl.DataFrame({"id": ids, "value": values.alias("value")})
        frame.write_parquet(folder / "vocabulary" / f"{name}.parquet")


def write_vectors(folder: Path, vectors: dict[str, NDArray[np.float32]]) -> None:
    """Write vectors/NAME.npy, a row for each id from 0."""
    if vectors:
        (folder / "vectors").mkdir()
    for name, matrix in vectors.items():
        np.save(folder / "vectors" / f"{name}.npy", matrix, allow_pickle=False)


def checksum(flat: Flat, items: Ints, values: pl.Series, splits: Mapping[str, SplitRows]) -> str:
    """SHA-256 of all that training and evaluation read of the sequences.

    That is their offsets, item ids and times, if there are any, and the rows of each split, as little-endian int64,
    and the items' names in id order.
    """
    rows = [(part.sequence, part.start, part.stop, part.target) for part in splits.values()]
    digest = hashlib.sha256()
    for numbers in (flat.offsets, items, flat.times, *chain.from_iterable(rows)):
        if numbers is not None:
            digest.update(numbers.astype("<i8").tobytes())
    digest.update("\n".join(values.cast(pl.String).to_list()).encode())
    return digest.hexdigest()
