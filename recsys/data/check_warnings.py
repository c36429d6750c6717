"""What is not wrong with a prepared folder, and yet can hardly be meant: splits without rows, features of one value."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from recsys.data.parquet import ParquetSplit
from recsys.data.schema import Schema
from recsys.data.session_schema import SessionSchema


def warnings_of(schema: Schema | SessionSchema) -> Iterator[str]:
    """Half a sentence for each, of a folder in which nothing is wrong."""
    for name, split in schema.splits.items():
        if not split.num_rows:
            yield f"{name} has no rows"
    if isinstance(schema, SessionSchema):
        if schema.num_items < 2:
            yield "there is one item, and nothing to rank"
    elif "train" in schema.splits and schema.splits["train"].num_rows:
        yield from _constant(schema)


def _constant(schema: Schema) -> Iterator[str]:
    numbers = _constant_numbers(schema) if schema.dense else []
    constant = [
        *numbers,
        *(each.name for each in schema.columns if each.kind != "dense" and _num_trained(schema, each.name) < 2),
    ]
    if constant:
        beyond = "" if len(constant) < len(schema.columns) else "; it is all that there is to learn from"
        yield f"of {', '.join(constant)} train has one value, rare ones taken together{beyond}"


def _constant_numbers(schema: Schema) -> list[str]:
    split = ParquetSplit(schema, "train")
    low, high = np.full(len(schema.dense), np.inf), np.full(len(schema.dense), -np.inf)
    for group, num_rows in enumerate(split.group_rows):
        if num_rows:
            values = split.read(group).dense
            low = np.minimum(low, [column.min() for column in values])
            high = np.maximum(high, [column.max() for column in values])
    return [name for name, least, most in zip(schema.dense, low, high, strict=True) if least == most]


def _num_trained(schema: Schema, name: str) -> int:
    """Ids that train has; 2 where the folder has no counts."""
    path: Path = schema.counts_path(name)
    return int(np.count_nonzero(pq.read_table(path, columns=["count"])["count"].to_numpy())) if path.is_file() else 2
