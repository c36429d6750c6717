"""The files beside the splits: schema.json, counts/ and vocabulary/."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.prepare.clicks.feature_encoding import EncodedFeature
from recsys.prepare.clicks.raw_dataset import Feature
from recsys.prepare.clicks.raw_keys import LongValues, unpack
from recsys.prepare.files.fingerprints import prepared_marks

FORMAT_VERSION = 1


def write_feature_files(folder: Path, feature: str, encoded: EncodedFeature, long_values: LongValues) -> None:
    """Write counts/<feature>.parquet (id, count in train) and vocabulary/<feature>.parquet (id, value).

    The vocabulary has no row for id 0, and no file where values are hashed.
    """
    ids = np.arange(encoded.num_embeddings, dtype=np.int64)
    _write(folder / "counts" / f"{feature}.parquet", {"id": pa.array(ids), "count": pa.array(encoded.counts)})
    if encoded.vocabulary is not None:
        values = pa.array(unpack(encoded.vocabulary.keys, long_values), pa.binary())
        columns = {"id": pa.array(ids[1:]), "value": values.cast(pa.string())}
        _write(folder / "vocabulary" / f"{feature}.parquet", columns)


def _write(path: Path, columns: dict[str, pa.Array]) -> None:
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path, compression="zstd")


def feature_entry(feature: Feature, num_embeddings: int | None) -> dict[str, object]:
    """Return what schema.json says of one feature."""
    entry: dict[str, object] = {"name": feature.name, "kind": feature.kind}
    if num_embeddings is not None:
        entry["num_embeddings"] = num_embeddings
    if feature.pooling is not None:
        entry["pooling"] = feature.pooling
    return entry


def write_schema(folder: Path, content: dict[str, object]) -> None:
    """Write schema.json, the last file of a prepared folder, with the fingerprints of the files beside it."""
    marks = {"fingerprints": prepared_marks(folder)}
    text = json.dumps({"format_version": FORMAT_VERSION, **content, **marks}, indent=1)
    (folder / "schema.json").write_text(text + "\n", encoding="utf-8")
