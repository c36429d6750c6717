"""`recsys evaluate` run in this process, and what it wrote."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recsys.cli import main


def run(*words):
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", *map(str, words)])
    return stop.value.code


def values(folder, cut="all", part="all"):
    metrics = json.loads((folder / "metrics.json").read_text())["metrics"]
    return {m["name"]: m["value"] for m in metrics if (m["cut"], m["part"]) == (cut, part)}


def second(rows, folder, order=None, **changes):
    """The rows of a second model, in another order."""
    noise = np.random.default_rng(1).random(3_000)
    columns = {**rows, "score": (rows["score"] + noise) / 2, **changes}
    order = np.arange(3_000) if order is None else order
    pq.write_table(pa.table({name: values[order] for name, values in columns.items()}), folder / "b.parquet")
    return folder / "b.parquet"


def compared(folder):
    report = json.loads((folder / "metrics.json").read_text())
    return report["comparison"], " ".join(report["notes"])
