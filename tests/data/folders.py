"""Small prepared folders in which every row can be recognised: its C1 is its number."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.data.batch import Batch

SPLITS = {"train": 1.0, "val": 0.5, "test": 0.25}
ROWS_OF_A_FILE = 50


def row(number: int) -> dict[str, Any]:
    """The stored values of one row."""
    return {
        "label": float(number % 3 == 0),
        "I1": number / 2,
        "I2": -float(number),
        "C1": number,
        "C2": number % 7,
        "tags": [(number + k) % 5 for k in range(number % 3)],
    }


def column_types(wide: bool = False) -> pa.Schema:
    """How the values are stored."""
    ids = pa.int64() if wide else pa.int32()
    fields = {"label": pa.float32(), "I1": pa.float32(), "I2": pa.float32(), "C1": ids, "C2": pa.int32()}
    return pa.schema({**fields, "tags": pa.list_(pa.int32())})


def schema_content(num_rows: dict[str, int], num_embeddings: int) -> dict[str, Any]:
    """What schema.json says."""
    return {
        "format_version": 1,
        "dataset": "numbers",
        "label": "label",
        "features": [
            {"name": "I1", "kind": "dense"},
            {"name": "C1", "kind": "categorical", "num_embeddings": num_embeddings},
            {"name": "I2", "kind": "dense"},
            {"name": "C2", "kind": "categorical", "num_embeddings": 7},
            {"name": "tags", "kind": "multi_valued", "num_embeddings": 5, "pooling": "mean"},
        ],
        "splits": {split: {"num_rows": count, "label_rate": 0.33} for split, count in num_rows.items()},
    }


def write_split(folder: Path, rows: Sequence[dict[str, Any]], group_rows: Sequence[int], types: pa.Schema) -> None:
    """Rows as Parquet with row groups of the given sizes, in turn; a new file for every so many rows."""
    folder.mkdir(parents=True, exist_ok=True)
    start, group, number, writer = 0, 0, 0, None
    while start < len(rows):
        if writer is None:
            writer = pq.ParquetWriter(folder / f"part-{number:05d}.parquet", types)
        stop = start + group_rows[group % len(group_rows)]
        writer.write_table(pa.Table.from_pylist(list(rows[start:stop]), schema=types))
        start, group = stop, group + 1
        if start // ROWS_OF_A_FILE > number:
            writer.close()
            number, writer = start // ROWS_OF_A_FILE, None
    if writer is not None:
        writer.close()


def write_folder(
    folder: Path, num_rows: int = 100, group_rows: Sequence[int] = (16,), num_embeddings: int | None = None
) -> Path:
    """A prepared folder; `train` has num_rows rows, the other splits fewer, all beginning with row 0."""
    num_embeddings = num_embeddings or num_rows
    counts = {split: max(1, int(num_rows * fraction)) for split, fraction in SPLITS.items()}
    types = column_types(wide=num_embeddings > 2**31 - 1)
    for split, count in counts.items():
        write_split(folder / split, [row(number) for number in range(count)], group_rows, types)
    (folder / "schema.json").write_text(json.dumps(schema_content(counts, num_embeddings)))
    return folder


def numbers(batch: Batch) -> list[int]:
    """Which rows a batch holds."""
    return [int(number) for number in batch.ids[0]]
