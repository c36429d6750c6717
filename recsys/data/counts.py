"""How often each id occurs in training, as preparation has counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.prepare.files.fingerprints import prepared_marks
from recsys.prepare.files.unreadable import UNREADABLE, why_unreadable


def require_folder(folder: Path | None) -> None:
    """Refuse what is no folder of counts.

    Raises:
        ValueError: naming it.
    """
    if folder is not None and not folder.is_dir():
        raise ValueError(f"--counts '{folder}' is no folder of counts; give one, or leave it out.")


def check_counts(folder: Path, tables: Sequence[str], here: Mapping[str, Any] | None) -> Path:
    """A folder of counts that a user has named.

    Args:
        folder: of files that are named after tables.
        tables: of the model.
        here: the identity of the data at hand; None where nobody knows.

    Returns: the folder.

    Raises:
        ValueError: if it is none, counts none of the tables, or lies in a prepared folder of other data.
    """
    require_folder(folder)
    if not any((folder / f"{name}.parquet").is_file() for name in tables):
        raise ValueError(
            f"--counts '{folder}' counts none of the tables ({', '.join(tables)}); give a folder such as counts/ of "
            "the data, or leave it out."
        )
    known = {} if here is None else {name: mark for name, mark in here["ids"].items() if mark is not None}
    marks = prepared_marks(folder.parent)["ids"] if known else {}
    other = [name for name in known if marks.get(name, known[name]) != known[name]]
    if other:
        raise ValueError(
            f"--counts '{folder}' is of other data: the ids of '{other[0]}' stand for other values there; give counts/ "
            "of the data that the model reads, or leave it out."
        )
    return folder


def read_counts(folder: Path, name: str, num_embeddings: int) -> NDArray[np.int64] | None:
    """How often each id occurs in training, [V]; None where there is no file for the table.

    Raises:
        ValueError: if the file does not fit the table.
    """
    path = folder / f"{name}.parquet"
    if not path.is_file():
        return None
    try:
        table = pq.read_table(path)
        names = table.column_names
    except UNREADABLE as error:
        raise ValueError(
            f"{path}: is no readable Parquet file, {why_unreadable(error)}; prepare the folder again."
        ) from error
    if not {"id", "count"} <= set(names):
        raise ValueError(f"{path}: must have columns id and count, got {', '.join(names)}.")
    for column in ("id", "count"):
        if not pa.types.is_integer(table[column].type) or table[column].null_count:
            raise ValueError(f"{path}: column '{column}' must hold integers without a null, got {table[column].type}.")
    if not len(table):
        raise ValueError(f"{path}: counts no id; prepare the folder again.")
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
