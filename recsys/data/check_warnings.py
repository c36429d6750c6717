"""What is not wrong with a prepared folder, yet can hardly be meant: empty splits, features that say nothing or all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.data.parquet import Array, ParquetSplit
from recsys.data.schema import Schema
from recsys.data.session_schema import SessionSchema

_FEW_IDS, _ROWS_OF_AN_ID = 1 << 16, 10


def warnings_of(schema: Schema | SessionSchema) -> Iterator[str]:
    """Half a sentence for each, of a folder in which nothing is wrong."""
    for name, split in schema.splits.items():
        if not split.num_rows:
            yield f"{name} has no rows"
    if isinstance(schema, SessionSchema):
        if schema.num_items < 2:
            yield "there is one item, and nothing to rank"
    elif "train" in schema.splits and schema.splits["train"].num_rows:
        yield from _of_features(schema)


def _of_features(schema: Schema) -> Iterator[str]:
    ranges = _Ranges.of(schema)
    constant = [
        *ranges.constant(),
        *(each.name for each in schema.columns if each.kind != "dense" and _num_trained(schema, each.name) < 2),
    ]
    if constant:
        beyond = "" if len(constant) < len(schema.columns) else "; it is all that there is to learn from"
        yield f"of {', '.join(constant)} train has one value, rare ones taken together{beyond}"
    telling = ranges.telling()
    if telling:
        yield f"{', '.join(telling)} tells the label of every row of train, as no feature of a click to come can"


class _Ranges:
    """Of the rows of train, by their label: how far each number reaches, and how often each id is there."""

    def __init__(self, schema: Schema) -> None:
        self._dense = schema.dense
        self._low = np.full((2, len(schema.dense)), np.inf)
        self._high = -self._low
        self._counts = {
            column.name: np.zeros((2, column.num_embeddings), np.int64)
            for column in schema.categorical
            if column.num_embeddings is not None and column.num_embeddings <= _FEW_IDS
        }

    @classmethod
    def of(cls, schema: Schema) -> _Ranges:
        """After a look at all rows."""
        found, split = cls(schema), ParquetSplit(schema, "train")
        names = [column.name for column in schema.categorical]
        for group in range(len(split.group_rows)):
            rows = split.read(group)
            clicked = np.zeros(rows.num_rows, bool) if rows.labels is None else rows.labels > 0
            for label, chosen in enumerate((~clicked, clicked)):
                found._add(label, chosen, rows.dense, dict(zip(names, rows.ids, strict=True)))
        return found

    def _add(self, label: int, chosen: Array, dense: Sequence[Array], ids: Mapping[str, Array]) -> None:
        for place, values in enumerate(dense):
            picked = values[chosen]
            self._low[label, place] = min(self._low[label, place], picked.min(initial=np.inf))
            self._high[label, place] = max(self._high[label, place], picked.max(initial=-np.inf))
        for name, counts in self._counts.items():
            counts[label] += np.bincount(ids[name][chosen], minlength=counts.shape[1])

    def constant(self) -> list[str]:
        """Numbers of one value."""
        same = self._low.min(axis=0, initial=np.inf) == self._high.max(axis=0, initial=-np.inf)
        return [name for name, one in zip(self._dense, same, strict=True) if one]

    def telling(self) -> list[str]:
        """Features that tell the label of every row, and have rows enough for that to be no chance."""
        apart = (self._high[0] < self._low[1]) | (self._high[1] < self._low[0])
        both = np.isfinite(self._low).all(axis=0)
        numbers = [name for name, tells in zip(self._dense, apart & both, strict=True) if tells]
        return [*numbers, *(name for name, counts in self._counts.items() if _tells(counts))]


def _tells(counts: Array) -> bool:
    """Whether no id has rows of both labels, though there are both, with ten rows of an id on average."""
    few = np.count_nonzero(counts.any(axis=0)) * _ROWS_OF_AN_ID <= counts.sum()
    return bool(few and counts.any(axis=1).all() and not counts.all(axis=0).any())


def _num_trained(schema: Schema, name: str) -> int:
    """Ids that train has; 2 where the folder has no counts."""
    path: Path = schema.counts_path(name)
    return int(np.count_nonzero(pq.read_table(path, columns=["count"])["count"].to_numpy())) if path.is_file() else 2
