"""Milliseconds of forward, backward and step of Embedding, beside nn.Embedding of the same logical size.

    python benchmarks/embedding.py [--rows 1000000] [--dim 64] [--batch 4096] [--length 20] [--rounds 15]

One thread. SGD; gradients are sparse where the matrix is large (nn.Embedding, FullTable, HashTable, UnifiedTable) and
dense where it is small (QRTable and its kin). Contenders run in turns with the same ids; each number is the median over
rounds, the ratio the median of the ratios to nn.Embedding in the same round, which other work changes less.
"""

from __future__ import annotations

import argparse
from statistics import median
from time import perf_counter

import machine
import torch
from torch import nn

from recsys.tables import (
    Embedding,
    FullTable,
    HashTable,
    MixedDimTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    UnifiedTable,
)


def contenders(rows, dim):
    tenth = rows // 10
    return {
        "nn.Embedding": nn.Embedding(rows, dim, sparse=True),
        "FullTable": Embedding(FullTable("a", rows, dim), sparse=True),
        "HashTable": Embedding(HashTable("a", rows, dim, num_rows=tenth), sparse=True),
        "HashTable, 2 lookups": Embedding(HashTable("a", rows, dim, num_rows=tenth, num_lookups=2), sparse=True),
        "UnifiedTable": Embedding(UnifiedTable("a", rows, dim, num_rows=2 * tenth), sparse=True),
        "QRTable": Embedding(QRTable("a", rows, dim)),
        "QRSumTable": Embedding(QRSumTable("a", rows, dim)),
        "QRConcatTable": Embedding(QRConcatTable("a", rows, dim)),
        "MixedDimTable": Embedding(MixedDimTable("a", rows, dim, row_dim=16), sparse=True),
    }


def seconds(module, optimizer, ids, weights):
    started = perf_counter()
    (module(ids) * weights).sum().backward()
    optimizer.step()
    optimizer.zero_grad()
    return perf_counter() - started


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, value in {"rows": 1_000_000, "dim": 64, "batch": 4096, "length": 20, "rounds": 15}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line())
    modules = contenders(arguments.rows, arguments.dim)
    optimizers = {name: torch.optim.SGD(module.parameters(), lr=0.01) for name, module in modules.items()}
    weights = torch.randn(arguments.dim)
    times: dict[str, list[float]] = {name: [] for name in modules}
    for number in range(arguments.rounds + 2):
        ids = torch.randint(0, arguments.rows, (arguments.batch, arguments.length))
        for name, module in modules.items():
            taken = seconds(module, optimizers[name], ids, weights)
            if number >= 2:
                times[name].append(taken)
    print("| | ms | x nn.Embedding |\n|--|--:|--:|")
    for name, taken in times.items():
        ratio = median(mine / theirs for mine, theirs in zip(taken, times["nn.Embedding"], strict=True))
        print(f"| {name} | {1e3 * median(taken):.1f} | {ratio:.2f} |")


if __name__ == "__main__":
    main()
