"""The sequences of one split in flat arrays, and batches gathered from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray

from recsys.data.session_batch import SessionBatch
from recsys.data.session_schema import SessionSchema
from recsys.prepare.files.first_line import first_line
from recsys.prepare.files.unreadable import UNREADABLE
from recsys.tables import Bag

Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Sequences:
    """S sequences of N events in all, one after the other.

    Shape:
        offsets [S + 1]: sequence s is events[offsets[s] : offsets[s + 1]]; items [N] ids 1..V; times [N] seconds, or
        None; users [S]; targets [S] the item to be predicted, or None
    """

    offsets: Ints
    items: NDArray[np.int32]
    times: Ints | None
    users: Ints
    targets: Ints | None

    def __len__(self) -> int:
        return len(self.users)

    @property
    def lengths(self) -> Ints:
        """Events of each sequence."""
        return np.diff(self.offsets)

    def stretch(self, rows: Ints, start: Ints, stop: Ints) -> SessionBatch:
        """A batch of events [start, stop) of the flat arrays, one stretch for each of rows, padded with 0."""
        lengths = stop - start
        places = np.arange(lengths.max(initial=0))
        is_event = places < lengths[:, None]
        # Padding repeats event 0 of the split before it is masked, so that every place is a valid one.
        taken = np.where(is_event, start[:, None] + places, 0)
        empty = not len(self.items)
        items = np.zeros(taken.shape, np.int64) if empty else self.items[taken].astype(np.int64) * is_event
        times = None if self.times is None or empty else torch.from_numpy(self.times[taken] * is_event)
        return SessionBatch(
            items=torch.from_numpy(items),
            lengths=torch.from_numpy(lengths.astype(np.int64)),
            times=times,
            users=torch.from_numpy(self.users[rows]),
            targets=None if self.targets is None else torch.from_numpy(self.targets[rows]),
        )

    def bag(self, rows: Ints) -> Bag:
        """All items of the sequences, whatever their length."""
        values = self.items[self.places(rows)]
        return Bag(torch.from_numpy(values.astype(np.int64)), torch.from_numpy(self.lengths[rows]))

    def places(self, rows: Ints) -> Ints:
        """Where the events of some sequences stand in the flat arrays, one sequence after the other."""
        lengths = self.lengths[rows]
        starts = np.repeat(self.offsets[rows] - np.cumsum(lengths) + lengths, lengths)
        return starts + np.arange(lengths.sum())


def read_sequences(schema: SessionSchema, split: str) -> Sequences:
    """All of PATH/SPLIT/*.parquet, in file name order; 4 bytes of memory an event, 12 with times.

    Raises:
        ValueError: if there is no file, one is not readable or lacks a column, an item is outside 1..num_items, times
            do not fit the items or fall within a row, or the number of rows, events or targets is not the schema's.
    """
    folder = schema.path / split
    paths = sorted(folder.glob("*.parquet"))
    if split not in schema.splits or not paths:
        raise ValueError(f"'{folder}' holds no Parquet file of a split; prepare the folder again.")
    if not schema.splits[split].num_rows:
        raise ValueError(f"'{schema.path}' has no rows in {split}; prepare it with rows for {split}.")
    names = ["user", "items"]
    names += ["times"] if schema.has_times else []
    names += ["target"] if schema.splits[split].num_targets else []
    table = pa.concat_tables([_read(path, names) for path in paths])
    items, offsets = _lists(folder, table, "items")
    times = None
    if schema.has_times:
        times, time_offsets = _lists(folder, table, "times")
        if not np.array_equal(offsets, time_offsets):
            raise ValueError(f"{folder}: every row must have as many times as items.")
    targets = _integers(folder, table, "target") if "target" in names else None
    _check_ids(schema, split, items, targets)
    sequences = Sequences(offsets, items.astype(np.int32), times, _integers(folder, table, "user"), targets)
    _check(schema, split, sequences)
    return sequences


def _read(path: Path, names: list[str]) -> pa.Table:
    try:
        return pq.read_table(path, columns=names).select(names)
    except (*UNREADABLE, KeyError) as error:
        raise ValueError(
            f"{path}: cannot be read as a file with columns {', '.join(names)} ({first_line(error)})."
        ) from error


def _lists(folder: Path, table: pa.Table, name: str) -> tuple[Ints, Ints]:
    """Values [N] and offsets [S + 1] of a column of lists."""
    kind = table[name].type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind)) or not pa.types.is_integer(kind.value_type):
        raise ValueError(f"{folder}: column '{name}' must hold lists of integers, got {kind}.")
    column = _in_64_bits(folder, table, name, pa.large_list(pa.int64())).combine_chunks()
    if column.null_count or column.flatten().null_count:
        raise ValueError(f"{folder}: column '{name}' has a null.")
    # flatten() starts at the first list's values also where the array is a slice.
    offsets = column.offsets.to_numpy()
    return column.flatten().to_numpy(), (offsets - offsets[0]).astype(np.int64)


def _integers(folder: Path, table: pa.Table, name: str) -> Ints:
    if not pa.types.is_integer(table[name].type):
        raise ValueError(f"{folder}: column '{name}' must hold integers, got {table[name].type}.")
    if table[name].null_count:
        raise ValueError(f"{folder}: column '{name}' has a null.")
    # A copy: Arrow's own memory cannot be written to, which torch warns of.
    values: Ints = np.array(_in_64_bits(folder, table, name, pa.int64()).to_numpy())
    return values


def _in_64_bits(folder: Path, table: pa.Table, name: str, kind: pa.DataType) -> Any:
    try:
        return table[name].cast(kind)
    except pa.ArrowInvalid as error:
        raise ValueError(
            f"{folder}: column '{name}' holds a number that is too large ({first_line(error)})."
        ) from error


def _check(schema: SessionSchema, split: str, sequences: Sequences) -> None:
    info, folder = schema.splits[split], schema.path / split
    found = (len(sequences), len(sequences.items))
    if found != (info.num_rows, info.num_events):
        raise ValueError(
            f"{folder}: schema.json says {info.num_rows:,} rows of {info.num_events:,} events, the files have "
            f"{found[0]:,} of {found[1]:,}; prepare the folder again."
        )
    num_targets = 0 if sequences.targets is None else len(sequences.targets)
    if num_targets != info.num_targets:
        raise ValueError(f"{folder}: schema.json says {info.num_targets:,} targets, the files have {num_targets:,}.")
    if sequences.times is not None and len(sequences.times):
        begins = np.zeros(len(sequences.times), np.bool_)
        begins[sequences.offsets[:-1][sequences.lengths > 0]] = True
        falls = np.append(False, np.diff(sequences.times) < 0) & ~begins
        if falls.any():
            row = int(np.searchsorted(sequences.offsets, int(falls.argmax()), side="right")) - 1
            raise ValueError(f"{folder}: times of row {row} fall; events of a row must be in the order of time.")


def _check_ids(schema: SessionSchema, split: str, items: Ints, targets: Ints | None) -> None:
    for name, ids in (("items", items), ("target", targets)):
        if ids is not None and len(ids) and (ids.min() < 1 or ids.max() > schema.num_items):
            raise ValueError(
                f"{schema.path / split}: column '{name}' must hold ids 1..num_items={schema.num_items}, "
                f"got {ids.min()}..{ids.max()}."
            )
