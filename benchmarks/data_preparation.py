"""Compare data_scripts/criteo.py with pandas scripts on the same raw file: wall time, processor time and peak memory.

    python benchmarks/data_preparation.py --rows 1000000
    python benchmarks/data_preparation.py --rows 10000000 --source train.txt --repeats 1
    python benchmarks/data_preparation.py --engines

The raw file is made by repeating ``--source`` (by default 100,000 generated lines) and replacing 5 % of the fields of
each repetition. Two pandas scripts: one as pandas is usually written (value_counts, isin, factorize) and one that
avoids every slow call (factorize to codes, the rest in NumPy). Each run is a process of its own; the runs take turns,
and the best of ``--repeats`` counts.

--engines compares Polars and PyArrow instead, step by step on one block: why data_scripts/raw_frames.py parses with
Polars and numbers 64-bit keys with PyArrow.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import machine
import numpy as np
import polars as pl

ROOT = Path(__file__).resolve().parents[1]
INTEGERS = [f"I{number}" for number in range(1, 14)]
CATEGORIES = [f"C{number}" for number in range(1, 27)]
COLUMNS = ["label", *INTEGERS, *CATEGORIES]
PERTURBED_FRACTION = 0.05
MIN_COUNT = 2


def make_raw(source: Path, path: Path, num_rows: int) -> None:
    """Write ``num_rows`` lines: ``source`` again and again, every repetition with other fields replaced."""
    schema = dict.fromkeys(COLUMNS, pl.String())
    lines = pl.read_csv(source, separator="\t", has_header=False, schema=schema, quote_char=None)
    rng = np.random.default_rng(0)
    with path.open("wb") as stream:
        for start in range(0, num_rows, len(lines)):
            part = lines.head(num_rows - start)
            part = perturb(part, rng) if start else part
            part.write_csv(stream, separator="\t", include_header=False, quote_style="never")


def perturb(lines: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """Replace fields: numbers by small ones; categories by new values in a third of the columns, else by few ones."""
    columns = {"label": lines["label"]}
    for place, name in enumerate(COLUMNS[1:]):
        chosen = pl.Series(rng.random(len(lines)) < PERTURBED_FRACTION)
        is_number, many = name in INTEGERS, place % 3 == 0
        fresh = rng.integers(0, 100 if is_number else 2**32 if many else 5000, len(lines)).tolist()
        values = pl.Series([str(value) if is_number else f"{value:08x}" for value in fresh])
        columns[name] = values.zip_with(chosen, lines[name])
    return pl.DataFrame(columns)


def pandas_script(raw: Path, out: Path, usual: bool) -> None:
    """Prepare the file with pandas: log of the numbers, ids with a minimum count in train, split by row order."""
    import pandas as pd

    frame = pd.read_csv(raw, sep="\t", header=None, names=COLUMNS)
    num_train, num_val = int(len(frame) * 0.8), int(len(frame) * 0.9)
    for name in INTEGERS:
        smallest = -3 if name == "I2" else 0
        frame[name] = np.log(frame[name].clip(lower=smallest) - smallest + 1).fillna(0).astype("float32")
    for name in CATEGORIES:
        encode = usual_ids if usual else lean_ids
        frame[name] = encode(frame[name], num_train)
    out.mkdir()
    for split, start, stop in (("train", 0, num_train), ("val", num_train, num_val), ("test", num_val, len(frame))):
        frame.iloc[start:stop].to_parquet(out / f"{split}.parquet")


def usual_ids(column, num_train: int) -> np.ndarray:
    """Return ids the way pandas code is usually written."""
    import pandas as pd

    counts = column.iloc[:num_train].value_counts()
    kept = counts[counts >= MIN_COUNT].index
    return (pd.factorize(column.where(column.isin(kept)))[0] + 1).astype("int32")


def lean_ids(column, num_train: int) -> np.ndarray:
    """Return ids by falling count with one pass of pandas over the strings."""
    import pandas as pd

    codes, values = pd.factorize(column)
    counts = np.bincount(codes[:num_train] + 1, minlength=len(values) + 1)[1:]
    kept = np.flatnonzero(counts >= MIN_COUNT)
    ids = np.zeros(len(values) + 1, dtype="int32")
    ids[kept[np.argsort(-counts[kept], kind="stable")]] = np.arange(1, len(kept) + 1)
    return ids[codes]


def compare_engines(raw: Path) -> None:
    """Print the processor time per million rows of each way to parse a block and to number its categories."""
    import pyarrow as pa
    from pyarrow import csv

    data = raw.read_bytes()[: 16 << 20]
    data = data[: data.rfind(b"\n") + 1]
    schema = {name: pl.String() if name in CATEGORIES else pl.Int64() for name in COLUMNS}
    options = {"separator": "\t", "has_header": False, "quote_char": None}
    arrow_types = {name: pa.string() if name in CATEGORIES else pa.int64() for name in COLUMNS}

    def arrow_csv(types: dict[str, pa.DataType]) -> pa.Table:
        read, parse = csv.ReadOptions(column_names=COLUMNS), csv.ParseOptions(delimiter="\t", quote_char=False)
        return csv.read_csv(pa.BufferReader(data), read, parse, csv.ConvertOptions(column_types=types))

    frame, table = pl.read_csv(data, schema=schema, **options), arrow_csv(arrow_types).combine_chunks()
    keys = [
        pa.array(frame[name].str.to_integer(base=16).cast(pl.UInt64).fill_null(0).to_numpy()) for name in CATEGORIES
    ]
    ways = {
        "parse: Polars": lambda: pl.read_csv(data, schema=schema, **options),
        "parse: PyArrow": lambda: arrow_csv(arrow_types),
        "number strings: Polars categorical": lambda: [
            frame[name].cast(pl.Categorical(pl.Categories.random())).to_physical() for name in CATEGORIES
        ],
        "number strings: PyArrow dictionary": lambda: [table[name].chunk(0).dictionary_encode() for name in CATEGORIES],
        "number 64-bit keys: Polars group_by and join": lambda: [_polars_codes(column) for column in keys],
        "number 64-bit keys: PyArrow dictionary": lambda: [column.dictionary_encode() for column in keys],
    }
    for name, way in ways.items():
        print(f"{name:46s} {processor_seconds(way) / len(frame) * 1e6:6.2f} s of processor time per million rows")


def _polars_codes(keys) -> pl.DataFrame:
    frame = pl.DataFrame({"key": keys})
    counted = frame.group_by("key").len().with_row_index("code")
    return frame.join(counted, on="key", how="left", maintain_order="left")


def processor_seconds(way: Callable[[], object], repeats: int = 7) -> float:
    """Return the best of some runs, all threads together."""
    seconds = []
    for _ in range(repeats):
        start = time.process_time()
        way()
        seconds.append(time.process_time() - start)
    return min(seconds)


def measure(command: list[str], out: Path) -> tuple[float, float, float]:
    """Run a command; return its wall seconds, processor seconds and peak resident GiB."""
    shutil.rmtree(out, ignore_errors=True)
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    errors = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(errors.decode())
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 2**20


def compare(raw: Path, folder: Path, num_rows: int, repeats: int) -> None:
    """Print one line per script."""
    out = folder / "out"
    ours = [sys.executable, str(ROOT / "data_scripts" / "criteo.py"), "--raw", str(raw), "--out", str(out)]
    pandas = [sys.executable, __file__, "--raw", str(raw), "--out", str(out), "--pandas"]
    commands = {
        "criteo.py": [*ours, "--min-count", str(MIN_COUNT)],
        "pandas, usual": [*pandas, "usual"],
        "pandas, lean": [*pandas, "lean"],
    }
    runs: dict[str, list[tuple[float, float, float]]] = {name: [] for name in commands}
    for _ in range(repeats):
        for name, command in commands.items():
            runs[name].append(measure(command, out))
    best = {name: min(results) for name, results in runs.items()}
    print(f"{num_rows:,} rows, {raw.stat().st_size / 2**20:,.0f} MiB, {os.cpu_count()} cores, best of {repeats}")
    for name, (wall, processor, memory) in best.items():
        ratios = f"{wall / best['criteo.py'][0]:5.2f} times the wall time of criteo.py"
        print(f"{name:14s} {wall:7.1f} s  {num_rows / wall:9,.0f} rows/s  processor {processor:6.1f} s  "
              f"peak {memory:5.2f} GiB  {ratios}")  # fmt: skip


def main() -> None:
    """Run the comparison, or one of the pandas scripts as a child."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--source", type=Path, help="a raw Criteo file to repeat; default: generated lines")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--engines", action="store_true", help="compare Polars and PyArrow on one block")
    parser.add_argument("--raw", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--out", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--pandas", choices=["usual", "lean"], help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.pandas:
        pandas_script(arguments.raw, arguments.out, usual=arguments.pandas == "usual")
        return
    with tempfile.TemporaryDirectory() as name:
        print(machine.line())
        folder = Path(name)
        source = arguments.source
        if source is None:
            sample = [str(ROOT / "data_scripts" / "criteo.py"), "--sample", "100000", "--out", str(folder / "sample")]
            subprocess.run([sys.executable, *sample], check=True, capture_output=True)
            source = folder / "sample" / "raw" / "train.txt"
        if arguments.engines:
            compare_engines(source)
            return
        make_raw(source, folder / "train.txt", arguments.rows)
        compare(folder / "train.txt", folder, arguments.rows, arguments.repeats)


if __name__ == "__main__":
    main()
