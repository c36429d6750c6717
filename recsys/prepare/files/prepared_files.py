"""The files beside the splits: schema.json, counts/ and vocabulary/."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from recsys.prepare.clicks.raw_keys import LongValues, unpack
from recsys.prepare.files.fingerprints import prepared_marks
from recsys.prepare.files.vocabulary import Vocabulary

FORMAT_VERSION = 1
SCHEMA = "schema.json"


def write_counts(folder: Path, feature: str, counts: NDArray[np.int64]) -> None:
    """Write counts/<feature>.parquet: id, and how often it occurs in train."""
    _write(folder / "counts" / f"{feature}.parquet", {"id": np.arange(len(counts), dtype=np.int64), "count": counts})


def write_vocabulary(folder: Path, feature: str, vocabulary: Vocabulary, long_values: LongValues) -> None:
    """Write vocabulary/<feature>.parquet: id and value, without id 0."""
    values = pa.array(unpack(vocabulary.keys, long_values), pa.binary()).cast(pa.string())
    _write_values(folder, feature, values)


def write_bin_names(folder: Path, feature: str, names: Sequence[str]) -> None:
    """Write vocabulary/<feature>.parquet of bins."""
    _write_values(folder, feature, pa.array(names, pa.string()))


def _write_values(folder: Path, feature: str, values: pa.Array) -> None:
    ids = np.arange(1, len(values) + 1, dtype=np.int64)
    _write(folder / "vocabulary" / f"{feature}.parquet", {"id": ids, "value": values})


def _write(path: Path, columns: dict[str, Any]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd")


def write_schema(folder: Path, content: dict[str, object]) -> None:
    """Write schema.json, the last file of a prepared folder, with the fingerprints of what the others mean.

    It names all of them with their sizes and digests.
    """
    marks = {"fingerprints": prepared_marks(folder), "files": listed_files(folder)}
    whole = {"format_version": FORMAT_VERSION, **content, **marks}
    (folder / SCHEMA).write_text(json.dumps(whole, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def listed_files(folder: Path) -> dict[str, dict[str, object]]:
    """Every file of a folder by name, with its bytes and digest: proof that all in it is ours, and whole."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): file_identity(path) for path in paths}


def file_identity(path: Path) -> dict[str, object]:
    """Bytes and digest."""
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    return {"bytes": path.stat().st_size, "blake2b": digest}
