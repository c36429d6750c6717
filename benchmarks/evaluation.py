"""Time and peak memory of exact AUC and GAUC on many rows, with scikit-learn's AUC on the same.

    python benchmarks/evaluation.py
    python benchmarks/evaluation.py --rows 10000000 --sklearn

Each measurement is a process of its own. The rows are generated: 1 % clicks, scores in float32, Parquet.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import machine
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def write(path: Path, num_rows: int, num_groups: int) -> None:
    schema = pa.schema({"label": pa.uint8(), "score": pa.float32(), "user": pa.int32()})
    generator = np.random.default_rng(0)
    with pq.ParquetWriter(path, schema, compression="lz4") as writer:
        for start in range(0, num_rows, 1 << 20):
            count = min(1 << 20, num_rows - start)
            label = generator.random(count) < 0.01
            score = 1 / (1 + np.exp(4.6 - generator.normal(size=count) - label))
            user = generator.integers(0, num_groups, count)
            table = pa.table({"label": label, "score": score, "user": user})
            writer.write_table(table.cast(schema))


def work(job: str, path: Path) -> str:
    """What a child process measures; returns the result in words."""
    from recsys.evaluation import Names, PredictionFiles, auc, gauc, pair_counts_of_batches

    files = PredictionFiles([path], Names(others=("user",) if job == "gauc" else ()))
    if job == "streamed":
        counts = pair_counts_of_batches(lambda: ((r.is_positive, r.scores) for r in files.batches()), 10_000_000)
        return f"{counts.auc:.15f}"
    rows = files.all()
    if job == "auc":
        return f"{auc(rows.is_positive, rows.scores):.15f}"
    if job == "gauc":
        return f"{gauc(rows.is_positive, rows.scores, rows.others['user'].to_numpy()).value:.15f}"
    from sklearn.metrics import roc_auc_score

    return f"{roc_auc_score(rows.is_positive, rows.scores):.15f}"


def measure(job: str, path: Path, num_rows: int) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from evaluation import work; "
        "print(work(sys.argv[1], Path(sys.argv[2])), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)"
    )
    start = perf_counter()
    command = [sys.executable, "-c", code, job, str(path)]
    result = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True)
    value, memory = result.stdout.split()
    seconds = perf_counter() - start
    print(f"{job:<10}{num_rows:>13,} rows {seconds:>7.1f} s {float(memory):>6.2f} GiB   {value}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000_000, help="for AUC")
    parser.add_argument("--gauc-rows", type=int, default=10_000_000)
    parser.add_argument("--groups", type=int, default=1_000_000, help="users, for GAUC")
    parser.add_argument("--sklearn", action="store_true", help="also scikit-learn's AUC")
    arguments = parser.parse_args()
    print(machine.line())
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "rows.parquet"
        write(path, arguments.rows, arguments.groups)
        for job in ("auc", "streamed", *(["sklearn"] if arguments.sklearn else [])):
            measure(job, path, arguments.rows)
        write(path, arguments.gauc_rows, arguments.groups)
        measure("gauc", path, arguments.gauc_rows)


if __name__ == "__main__":
    main()
