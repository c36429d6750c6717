"""Seconds and memory of each method of `recsys compress` on Criteo's 33.8 million rows of 16, or a part of them.

    python benchmarks/compression_speed.py [--part 0.05] [--methods int8 pq] [--threads 2]

Rows and counts are generated: normal values, Zipf counts. Each method runs in a process of its own, and its peak of
memory has the rows in it. Processor seconds are those of all threads; where the machine does something else too, they
are the number to compare. Budgets: 10 % of the bytes, all of them for methods with one size.
"""

from __future__ import annotations

import argparse
import resource
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context

import generated
import machine
import torch

from recsys.compression.methods import METHODS
from recsys.compression.trained import TrainedTable

DIM = 16
ONE_SIZE = ("fp16", "int8", "int4")


@dataclass(frozen=True)
class Cost:
    """What a method took."""

    seconds: float
    processor_seconds: float
    peak_gib: float


def sizes(part: float) -> list[int]:
    """Ids of Criteo's columns, the larger ones with a part of theirs."""
    return [max(min(size, 1000), round(size * part)) for size in generated.CRITEO_ROWS]


def tables(part: float) -> list[TrainedTable]:
    """Generated rows and counts."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for number, num_ids in enumerate(sizes(part)):
        vectors = torch.empty(num_ids, DIM).normal_(0, 0.01, generator=generator)
        counts = (45_000_000 / torch.arange(1, num_ids + 1).float().pow(1.05)).long()
        values = torch.rand(DIM, generator=generator)
        found.append(TrainedTable(f"C{number + 1}", vectors, counts, torch.rand(DIM, generator=generator), values))
    return found


def cost(name: str, part: float, threads: int) -> Cost:
    """Of one method, in the process that calls."""
    torch.set_num_threads(threads)
    made = tables(part)
    full_bytes = sum(table.full_bytes for table in made)
    wall, processor = time.perf_counter(), time.process_time()
    METHODS[name]().compress(made, full_bytes if name in ONE_SIZE else full_bytes // 10)
    taken = time.perf_counter() - wall, time.process_time() - processor
    return Cost(*taken, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 << 20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", type=float, default=1.0, help="of the ids of large columns")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    print(machine.line())
    print(f"{sum(sizes(arguments.part)):,} rows of {DIM}")
    print(f"{'method':<12}{'seconds':>10}{'processor':>12}{'peak GiB':>10}")
    for name in arguments.methods:
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            found = pool.submit(cost, name, arguments.part, arguments.threads).result()
        print(f"{name:<12}{found.seconds:>10.1f}{found.processor_seconds:>12.1f}{found.peak_gib:>10.2f}", flush=True)


if __name__ == "__main__":
    main()
