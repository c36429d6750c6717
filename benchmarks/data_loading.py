"""Rows per second of the batch iterator alone, with one decoding thread and with more.

    python benchmarks/data_loading.py [--data data/criteo] [--rows 2000000] [--batch_size 4096] [--threads 1 2]

Without --data, a folder of 13 dense and 26 categorical columns is generated, in the form that data_scripts/ write. The
numbers of threads take turns; the ratio of each to the first is the median over the rounds, and processor time a row
says what other work on the machine changes less.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter, process_time

import generated
import machine
import torch

from recsys.data import BatchLoader, CTRDataModule


def epoch_of(loader: BatchLoader, epoch: int) -> tuple[float, float]:
    """Rows per second, and processor nanoseconds a row."""
    loader.set_epoch(epoch)
    start, used = perf_counter(), process_time()
    num_rows = sum(len(batch) for batch in loader)
    return num_rows / (perf_counter() - start), 1e9 * (process_time() - used) / num_rows


def race(folder: Path, shuffle: bool, arguments: argparse.Namespace) -> None:
    """Print a line for each number of threads."""
    loaders = {
        threads: CTRDataModule(folder, arguments.batch_size, shuffle=shuffle, num_threads=threads).train_dataloader()
        for threads in arguments.threads
    }
    found: dict[int, list[tuple[float, float]]] = {threads: [] for threads in loaders}
    for epoch in range(arguments.rounds + 1):
        for threads, loader in loaders.items():
            found[threads].append(epoch_of(loader, epoch))
    first = [rate for rate, _ in found[arguments.threads[0]][1:]]
    for threads, rounds in found.items():
        rates, costs = zip(*rounds[1:], strict=True)
        ratio = median(rate / base for rate, base in zip(rates, first, strict=True))
        print(
            f"{'shuffled' if shuffle else 'stored order':<14}{threads:>2} threads{median(rates):>14,.0f} rows/s  "
            f"[{min(rates):,.0f}, {max(rates):,.0f}]{ratio:>7.2f} x{median(costs):>7.0f} ns of processor a row"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a prepared folder; generated if not given")
    parser.add_argument("--rows", type=int, default=2_000_000, help="rows to generate")
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="decoding threads to compare")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line())
    folder = arguments.data
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"recsys-loading-columns-{arguments.rows}"
        generated.write(folder, generated.geometric_rows(100_000), arguments.rows)
    print(f"{folder}, batch {arguments.batch_size}, median of {arguments.rounds} epochs after the first")
    for shuffle in (True, False):
        race(folder, shuffle, arguments)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    main()
