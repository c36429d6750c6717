"""Seconds of a whole training step (DLRM, batch 4096) with each table method, and with growing vocabularies.

    python benchmarks/tables.py methods [--rounds 5]
    python benchmarks/tables.py vocabularies [--rounds 5]

`methods` swaps the table of every column, at the same output width. `vocabularies` keeps FullTable and gives each of
the five largest columns 100 thousand, 1 million and 10 million rows. Contenders run in turns; medians and ratios to
the first are printed.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median

import generated
import machine
import torch
from contenders import BATCH, dlrm, lightning_fit

from recsys.tables import (
    CCETable,
    DeepHashTable,
    DoubleHashTable,
    FullTable,
    HashEmbeddingTable,
    HashTable,
    ManagedCollisionTable,
    MixedDimTable,
    MurmurTable,
    PathQRTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    RobeTable,
    Table,
    TTTable,
    UnifiedTable,
)

Contender = tuple[list[int], Callable[[str, int, int], Table]]


def methods() -> dict[str, Contender]:
    """Every method on 26 columns of 10 to 100,000 ids."""
    sizes = generated.geometric_rows(100_000)
    found = {
        "FullTable": FullTable,
        "HashTable": partial(HashTable, budget_fraction=0.2),
        "ManagedCollisionTable": lambda name, v, d: ManagedCollisionTable(name, v, d, num_rows=2 + v // 5),
        "UnifiedTable": partial(UnifiedTable, num_rows=50_000, num_lookups=2),
        "QRTable": QRTable,
        "QRSumTable": QRSumTable,
        "QRConcatTable": QRConcatTable,
        "MixedDimTable": partial(MixedDimTable, alpha=0.3),
        "HashEmbeddingTable": partial(HashEmbeddingTable, budget_fraction=0.2),
        "DoubleHashTable": lambda name, v, d: DoubleHashTable(name, v, d, num_rows=2 + v // 5),
        "MurmurTable": partial(MurmurTable, budget_fraction=0.2),
        "RobeTable": partial(RobeTable, num_rows=50_000, num_chunks=2),
        "RobeTable aligned": partial(RobeTable, num_rows=50_000, num_chunks=2, aligned=True),
        "CCETable": lambda name, v, d: CCETable(name, v, d, num_clusters=1 + v // 20, num_chunks=2),
        "TTTable": partial(TTTable, rank=8),
        "PathQRTable": lambda name, v, d: PathQRTable(name, v, d, num_rows=1 + v // 8),
        "DeepHashTable": partial(DeepHashTable, hidden_dim=64),
    }
    return {name: (sizes, table) for name, table in found.items()}


def vocabularies() -> dict[str, Contender]:
    """FullTable at three sizes of the large columns."""
    return {f"{rows:,} rows": (generated.large_columns(rows), FullTable) for rows in (10**5, 10**6, 10**7)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("job", choices=["methods", "vocabularies"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40, help="steps per round")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(machine.line())
    contenders = methods() if arguments.job == "methods" else vocabularies()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(arguments.rounds):
        for name, (sizes, table) in contenders.items():
            folder = Path(tempfile.gettempdir()) / f"recsys-speed-{sum(sizes)}-500000"
            generated.write(folder, sizes, 500_000)
            rate, _ = lightning_fit(folder, dlrm, arguments.steps, table=table)
            seconds[name].append(BATCH / rate)
    print(f"DLRM, batch {BATCH}, {arguments.threads} threads, median of {arguments.rounds} rounds")
    first = next(iter(contenders))
    for name, values in seconds.items():
        ratios = [value / base for value, base in zip(values, seconds[first], strict=True)]
        print(f"{name:<20}{1000 * median(values):>8.1f} ms a step{median(ratios):>8.2f} times {first}")


if __name__ == "__main__":
    main()
