"""How often each id occurs in training, as preparation has counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray


def read_counts(folder: Path, name: str, num_embeddings: int) -> NDArray[np.int64] | None:
    """How often each id occurs in training, [V]; None where there is no file for the table.

    Raises:
        ValueError: if the file does not fit the table.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        return None
    table = pq.read_table(path)
    if not {"id", "count"} <= set(table.column_names):
        raise ValueError(f"{path}: must have columns id and count, got {', '.join(table.column_names)}.")
    for column in ("id", "count"):
        if not pa.types.is_integer(table[column].type) or table[column].null_count:
            raise ValueError(f"{path}: column '{column}' must hold integers without a null, got {table[column].type}.")
    ids, occurrences = table["id"].to_numpy(), table["count"].to_numpy()
    if len(np.unique(ids)) < len(ids):
        raise ValueError(f"{path}: every id must be there once.")
    if occurrences.min(initial=0) < 0:
        raise ValueError(f"{path}: counts must be at least 0, got {occurrences.min()}.")
    if len(ids) and (ids.min() < 0 or ids.max() >= num_embeddings):
        raise ValueError(f"{path}: ids must be in [0, {num_embeddings:,}) as in table '{name}', got {ids.max():,}.")
    counts = np.zeros(num_embeddings, dtype=np.int64)
    counts[ids] = occurrences
    return counts
