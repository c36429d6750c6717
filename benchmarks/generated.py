"""A generated click data set in the prepared format: Zipf ids, a planted signal, any vocabulary."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.prepare.clicks.parquet_output import GROUP_ROWS, PARQUET

NUM_DENSE = 13
SPLITS = {"train": 0.8, "val": 0.1, "test": 0.1}


# Categories of each column in all of Criteo Kaggle, every value kept: 33,762,577 in all.
CRITEO_ROWS = [
    *(1460, 583, 10131227, 2202608, 305, 24, 12517, 633, 3, 93145, 5683, 8351593, 3194),
    *(27, 14992, 5461306, 10, 5652, 2173, 4, 7046547, 18, 15, 286181, 105, 142572),
]


def large_columns(num_rows: int) -> list[int]:
    """Criteo's columns with each of the five above 2 million rows given ``num_rows``, and no other above 100,000."""
    return [num_rows if size > 2_000_000 else min(size, 100_000) for size in CRITEO_ROWS]


def geometric_rows(largest: int, num_features: int = 26) -> list[int]:
    """Vocabularies from 10 to `largest`, spread evenly on a logarithmic scale."""
    return [round(float(size)) for size in np.geomspace(10, largest, num_features)]


def zipf_ids(generator: np.random.Generator, num_embeddings: int, num_rows: int, exponent: float = 1.05) -> np.ndarray:
    """Bounded Zipf ids by the inverse of the continuous distribution."""
    power = 1 - exponent
    uniform = generator.random(num_rows)
    ids = (((num_embeddings + 1) ** power - 1) * uniform + 1) ** (1 / power)
    return np.clip(ids.astype(np.int64) - 1, 0, num_embeddings - 1)


def write(folder: Path, num_embeddings: list[int], num_rows: int, seed: int = 0) -> Path:
    """Write the folder, unless it is there; returns it."""
    if (folder / "schema.json").exists():
        return folder
    generator = np.random.default_rng(seed)
    columns: dict[str, np.ndarray] = {}
    score = np.zeros(num_rows)
    for position in range(NUM_DENSE):
        values = generator.exponential(1.0, num_rows).astype(np.float32)
        columns[f"I{position + 1}"] = np.log1p(values)
        score += 0.15 * generator.standard_normal() * values
    for position, size in enumerate(num_embeddings):
        ids = zipf_ids(generator, size, num_rows)
        columns[f"C{position + 1}"] = ids.astype(np.int32)
        score += 0.3 * generator.standard_normal(min(size, 10_000))[ids % 10_000 % size]
    columns["label"] = (generator.random(num_rows) < 1 / (1 + np.exp(1.2 - score + score.mean()))).astype(np.float32)
    _write_splits(folder, columns, num_rows)
    _write_schema(folder, columns, num_embeddings, num_rows)
    return folder


def _write_splits(folder: Path, columns: dict[str, np.ndarray], num_rows: int) -> None:
    start = 0
    for split, fraction in SPLITS.items():
        stop = start + int(num_rows * fraction)
        (folder / split).mkdir(parents=True, exist_ok=True)
        table = pa.table({name: values[start:stop] for name, values in columns.items()})
        pq.write_table(table, folder / split / "part-00000.parquet", row_group_size=GROUP_ROWS, **PARQUET)
        start = stop


def _write_schema(folder: Path, columns: dict[str, np.ndarray], num_embeddings: list[int], num_rows: int) -> None:
    dense = [{"name": f"I{i + 1}", "kind": "dense"} for i in range(NUM_DENSE)]
    ids = [{"name": f"C{i + 1}", "kind": "categorical", "num_embeddings": s} for i, s in enumerate(num_embeddings)]
    rate = float(columns["label"].mean())
    splits = {name: {"num_rows": int(num_rows * fraction), "label_rate": rate} for name, fraction in SPLITS.items()}
    head = {"format_version": 1, "dataset": "generated", "label": "label"}
    schema = {**head, "features": [*dense, *ids], "splits": splits}
    (folder / "schema.json").write_text(json.dumps(schema, indent=1))
