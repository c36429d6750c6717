"""Predictions of a made model, for the tests of `recsys evaluate`."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest


@pytest.fixture
def rows():
    generator = np.random.default_rng(0)
    z = generator.normal(-1, 1, 3_000)
    labels = (generator.random(3_000) < 1 / (1 + np.exp(-z))).astype(np.int64)
    return {
        "label": labels,
        "score": 1 / (1 + np.exp(-z - generator.normal(0, 0.5, 3_000))),
        "user": generator.integers(0, 200, 3_000),
        "item": generator.integers(0, 50, 3_000),
        "device": np.array(["phone", "desktop"])[generator.integers(0, 2, 3_000)],
        "time": np.arange(3_000),
    }


@pytest.fixture
def predictions(rows, tmp_path):
    pq.write_table(pa.table(rows), tmp_path / "a.parquet")
    return tmp_path / "a.parquet"
