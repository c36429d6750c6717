"""Rows picked from row groups, laid out so that a batch is a piece of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from recsys.data.batch import Batch, concatenate
from recsys.data.batched_ids import BatchedIds
from recsys.data.parquet import Array, RowGroup
from recsys.data.schema import Schema
from recsys.tables import Bag

Picked = Array | slice

_ROWS_AT_A_TIME = 2048


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
        dense [n, num_dense]; labels, weights and groups [n], or None; keys n rows, or None
    """

    ids: BatchedIds
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
        """Rows [start, stop), those of one batch that are here, without copies."""
        return Batch(
            ids=self.ids.between(start, stop),
            bags={name: lists.bag(start, stop) for name, lists in self.lists.items()},
            dense=self.dense[start:stop],
            labels=None if self.labels is None else self.labels[start:stop],
            weights=None if self.weights is None else self.weights[start:stop],
            groups=None if self.groups is None else self.groups[start:stop],
            beside=None if self.keys is None else self.keys.slice(start, stop - start),
        )


class Picking:
    """The picked rows of the row groups laid end to end, made column by column by whoever has time.

    Ids are int32 if all of them fit. Parts write to different places, so that threads may share them; the rows are
    whole when all of them are done.

    Args:
        schema: of the row groups.
        groups: as read.
        picked: which rows, in the order that is wanted.
        num_begun: rows before them in the batch that they go on with.
        batch_size: rows of a batch.
        pin_memory: make them in page-locked memory.
    """

    def __init__(
        self,
        schema: Schema,
        groups: Sequence[RowGroup],
        picked: Picked,
        num_begun: int,
        batch_size: int,
        pin_memory: bool = False,
    ) -> None:
        self._groups, self._picked, self._pins = groups, picked, pin_memory
        self._id_type = np.int64 if schema.wide_ids else np.int32
        self._places = np.arange(sum(group.num_rows for group in groups))[picked]
        num_features = len(schema.categorical)
        ids, _ = self._empty((num_features * len(self._places),), self._id_type)
        self._ids = BatchedIds(ids, num_features, num_begun, batch_size)
        self._dense, self._dense_array = self._empty((len(self._places), len(schema.dense)), np.float32)
        self._list_names = [column.name for column in schema.multi_valued]
        self._lists: dict[str, Ragged] = {}
        self._labels: Tensor | None = None
        self._weights: Tensor | None = None
        self._numbers: Tensor | None = None
        self._keys: pa.Table | None = None

    def parts(self) -> list[Callable[[], None]]:
        """Pieces of the work, the longest first."""
        features = (partial(self._pick_ids, feature) for feature in range(self._ids.num_features))
        lists = (partial(self._pick_lists, name) for name in self._list_names)
        return [self._pick_dense, *lists, self._pick_rest, *features]

    def rows(self) -> Rows:
        """What was picked."""
        lists = {name: self._lists[name] for name in self._list_names}
        beside = (self._weights, self._numbers, self._keys)
        return Rows(self._ids, self._dense, self._labels, lists, *beside, self._pins)

    def _empty(self, shape: tuple[int, ...], dtype: type) -> tuple[Tensor, Array]:
        """A tensor to fill in, and the same memory as an array."""
        kind = torch.from_numpy(np.empty(0, dtype)).dtype
        tensor = torch.empty(shape, dtype=kind, pin_memory=self._pins)
        return tensor, tensor.numpy()

    def _pick_ids(self, feature: int) -> None:
        joined = _join([group.ids[feature] for group in self._groups], self._id_type)
        self._ids.fill(feature, joined, self._picked)

    def _pick_dense(self) -> None:
        _pick(_join_dense(self._groups, self._dense_array.shape[1]), self._picked, self._dense_array)

    def _pick_rest(self) -> None:
        """Columns of which there is one at most."""
        self._labels, self._weights = (
            self._pick_one(each, np.float32)
            for each in ([group.labels for group in self._groups], [group.weights for group in self._groups])
        )
        numbers = self._pick_one([group.groups for group in self._groups], np.int64)
        self._numbers = None if numbers is None else _apart(numbers, self._rows_of_split())
        keys = [group.keys for group in self._groups if group.keys is not None]
        self._keys = pa.concat_tables(keys).take(pa.array(self._places)) if keys else None

    def _rows_of_split(self) -> Array:
        """The place in the split of each picked row."""
        rows = [np.arange(group.first_row, group.first_row + group.num_rows) for group in self._groups]
        return _join(rows, np.int64)[self._picked]

    def _pick_one(self, parts: Sequence[Array | None], dtype: type) -> Tensor | None:
        known = [part for part in parts if part is not None]
        if not known:
            return None
        tensor, array = self._empty((len(self._places),), dtype)
        _pick(_join(known, dtype), self._picked, array)
        return tensor

    def _pick_lists(self, name: str) -> None:
        lists = [group.lists[name] for group in self._groups]
        values = _join([values for values, _ in lists], self._id_type)
        lengths = _join([lengths for _, lengths in lists], np.int64)
        starts = (np.cumsum(lengths) - lengths)[self._picked]
        lengths = lengths[self._picked]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        places = np.repeat(starts - offsets[:-1], lengths) + np.arange(offsets[-1])
        found, found_array = self._empty((len(places),), self._id_type)
        _pick(values, places, found_array)
        self._lists[name] = Ragged(found, torch.from_numpy(offsets))


def _apart(groups: Tensor, rows: Array) -> Tensor:
    """Rows of group 0, whom nobody knows, become groups of their own: such a group has one label, and no AUC.

    Shape:
        groups [n]; rows [n], the place of each in the whole split, so that no two have one number
    """
    unknown = groups == 0
    groups[unknown] = -1 - torch.from_numpy(rows)[unknown]
    return groups


def _pick(values: Array, picked: Picked, out: Array) -> None:
    if isinstance(picked, slice):
        out[:] = values[picked]
    else:
        np.take(values, picked, axis=0, out=out, mode="clip")  # "raise", the default, copies through a buffer


def _join_dense(groups: Sequence[RowGroup], num_dense: int) -> Array:
    """Columns side by side, some rows at a time: what all columns write to then stays in a core's cache."""
    dense = np.empty((sum(group.num_rows for group in groups), num_dense), np.float32)
    begin = 0
    for group in groups:
        for start in range(0, group.num_rows, _ROWS_AT_A_TIME):
            stop = min(start + _ROWS_AT_A_TIME, group.num_rows)
            block = dense[begin + start : begin + stop]
            for number, column in enumerate(group.dense):
                block[:, number] = column[start:stop]
        begin += group.num_rows
    return dense


def _join(parts: Sequence[Array], dtype: type) -> Array:
    if len(parts) == 1:
        return parts[0].astype(dtype, copy=False)
    return np.concatenate(parts, dtype=dtype, casting="unsafe")


def batches(pieces: Iterable[Rows], batch_size: int) -> Iterator[Batch]:
    """The pieces' rows, `batch_size` at a time, as they were laid out for it; the last batch may be smaller."""
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
