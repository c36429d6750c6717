"""Rows picked from row groups, laid out so that a batch is a slice of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recsys.data.batch import Batch, concatenate
from recsys.data.parquet import Array, RowGroup
from recsys.data.schema import Schema
from recsys.tables import Bag

Picked = Array | slice


@dataclass(frozen=True)
class Ragged:
    """Lists of ids laid end to end: row i's are values[offsets[i] : offsets[i + 1]]."""

    values: Tensor
    offsets: Tensor

    def bag(self, start: int, stop: int) -> Bag:
        """The lists of rows [start, stop)."""
        offsets = self.offsets[start : stop + 1]
        return Bag(self.values[int(offsets[0]) : int(offsets[-1])], offsets.diff())


@dataclass(frozen=True)
class Rows:
    """Rows in the order in which they are trained on.

    Shape:
        ids [F, n], dense [n, num_dense]; labels, weights and groups [n], or None; keys n rows, or None
    """

    ids: Tensor
    dense: Tensor
    labels: Tensor | None
    lists: dict[str, Ragged]
    weights: Tensor | None = None
    groups: Tensor | None = None
    keys: pa.Table | None = None
    is_pinned: bool = False

    def __len__(self) -> int:
        return self.dense.shape[0]

    def batch(self, start: int, stop: int) -> Batch:
        """Rows [start, stop); only the ids are copied, to be contiguous."""
        ids = self.ids[:, start:stop]
        return Batch(
            ids=torch.empty_like(ids, memory_format=torch.contiguous_format, pin_memory=self.is_pinned).copy_(ids),
            bags={name: lists.bag(start, stop) for name, lists in self.lists.items()},
            dense=self.dense[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            weights=None if self.weights is None else self.weights[start:stop],
            groups=None if self.groups is None else self.groups[start:stop],
            beside=None if self.keys is None else self.keys.slice(start, stop - start),
        )


def pick(schema: Schema, groups: Sequence[RowGroup], picked: Picked, pin_memory: bool = False) -> Rows:
    """The picked rows of the row groups laid end to end, column by column; ids are int32 if all of them fit."""
    id_type = np.int64 if schema.wide_ids else np.int32
    num_stored = sum(group.num_rows for group in groups)
    places = np.arange(num_stored)[picked]
    ids, id_arrays = _empty((len(schema.categorical), len(places)), id_type, pin_memory)
    for feature, array in enumerate(id_arrays):
        _pick(_join([group.ids[feature] for group in groups], id_type), picked, array)
    dense, dense_array = _empty((len(places), len(schema.dense)), np.float32, pin_memory)
    _pick(_join_dense(groups, len(schema.dense)), picked, dense_array)
    lists = {
        column.name: _pick_lists([group.lists[column.name] for group in groups], picked, id_type, pin_memory)
        for column in schema.multi_valued
    }
    labels, weights = (
        _pick_one(each, len(places), picked, np.float32, pin_memory)
        for each in ([group.labels for group in groups], [group.weights for group in groups])
    )
    numbers = _pick_one([group.groups for group in groups], len(places), picked, np.int64, pin_memory)
    keys = [group.keys for group in groups if group.keys is not None]
    return Rows(
        ids,
        dense,
        labels,
        lists,
        weights,
        None if numbers is None else _apart(numbers, places),
        pa.concat_tables(keys).take(pa.array(places)) if keys else None,
        pin_memory,
    )


def _pick_one(
    parts: Sequence[Array | None], num_rows: int, picked: Picked, dtype: type, pin_memory: bool
) -> Tensor | None:
    known = [part for part in parts if part is not None]
    if not known:
        return None
    tensor, array = _empty((num_rows,), dtype, pin_memory)
    _pick(_join(known, dtype), picked, array)
    return tensor


def _apart(groups: Tensor, places: Array) -> Tensor:
    """Rows of group 0, whom nobody knows, become groups of their own: such a group has one label, and no AUC."""
    unknown = groups == 0
    groups[unknown] = -1 - torch.from_numpy(places)[unknown]
    return groups


def _empty(shape: tuple[int, ...], dtype: type, pin_memory: bool) -> tuple[Tensor, Array]:
    """A tensor to fill in, and the same memory as an array."""
    kind = torch.from_numpy(np.empty(0, dtype)).dtype
    tensor = torch.empty(shape, dtype=kind, pin_memory=pin_memory)
    return tensor, tensor.numpy()


def _pick(values: Array, picked: Picked, out: Array) -> None:
    if isinstance(picked, slice):
        out[:] = values[picked]
    else:
        np.take(values, picked, axis=0, out=out, mode="clip")  # "raise", the default, copies through a buffer


def _join_dense(groups: Sequence[RowGroup], num_dense: int) -> Array:
    dense = np.empty((sum(group.num_rows for group in groups), num_dense), np.float32)
    for number in range(num_dense):
        dense[:, number] = _join([group.dense[number] for group in groups], np.float32)
    return dense


def _pick_lists(lists: Sequence[tuple[Array, Array]], picked: Picked, id_type: type, pin_memory: bool) -> Ragged:
    values = _join([values for values, _ in lists], id_type)
    lengths = _join([lengths for _, lengths in lists], np.int64)
    starts = (np.cumsum(lengths) - lengths)[picked]
    lengths = lengths[picked]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
    found, found_array = _empty((len(places),), id_type, pin_memory)
    _pick(values, places, found_array)
    return Ragged(found, torch.from_numpy(offsets))


def _join(parts: Sequence[Array], dtype: type) -> Array:
    if len(parts) == 1:
        return parts[0].astype(dtype, copy=False)
    return np.concatenate(parts, dtype=dtype, casting="unsafe")


def batches(pieces: Iterable[Rows], batch_size: int) -> Iterator[Batch]:
    """The pieces' rows, `batch_size` at a time; the last batch may be smaller."""
    parts: list[Batch] = []
    missing = batch_size
    for rows in pieces:
        start = 0
        while start < len(rows):
            stop = min(start + missing, len(rows))
            parts.append(rows.batch(start, stop))
            missing -= stop - start
            start = stop
            if missing == 0:
                yield _joined(parts, rows.is_pinned)
                parts, missing = [], batch_size
    if parts:
        yield _joined(parts, rows.is_pinned)


def _joined(parts: Sequence[Batch], pin_memory: bool) -> Batch:
    """One batch; what was put together anew is pinned once more."""
    batch = concatenate(parts)
    return batch.pin_memory() if pin_memory else batch


def empty_batch(schema: Schema) -> Batch:
    """A batch of no rows."""
    id_type = torch.int64 if schema.wide_ids else torch.int32
    return Batch(
        ids=torch.empty(len(schema.categorical), 0, dtype=id_type),
        bags={
            column.name: Bag(torch.empty(0, dtype=id_type), torch.empty(0, dtype=torch.int64))
            for column in schema.multi_valued
        },
        dense=torch.empty(0, len(schema.dense)),
        labels=None if schema.label is None else torch.empty(0),
        weights=None if schema.weight is None else torch.empty(0),
        groups=None if schema.group is None else torch.empty(0, dtype=torch.int64),
    )
