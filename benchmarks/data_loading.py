"""Rows per second of the batch iterator alone, on one CPU core and on two.

    python benchmarks/data_loading.py [--data data/criteo] [--rows 1000000] [--batch_size 4096] [--rounds 5]

Without --data, a folder of 13 dense and 26 categorical columns is generated. The process is held to the cores, so
the background thread that decodes has to share one core with the consumer, or has one to itself.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter

import generated
import machine
import torch

from recsys.data import BatchLoader, CTRDataModule


def rows_per_second(loader: BatchLoader, epoch: int) -> float:
    loader.set_epoch(epoch)
    start = perf_counter()
    num_rows = sum(len(batch) for batch in loader)
    return num_rows / (perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="a prepared folder; generated if not given")
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows to generate")
    parser.add_argument("--batch_size", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    print(machine.line())
    folder = arguments.data
    if folder is None:
        folder = Path(tempfile.gettempdir()) / f"recsys-loading-{arguments.rows}"
        generated.write(folder, generated.geometric_rows(100_000), arguments.rows)

    cores = sorted(os.sched_getaffinity(0))
    print(f"{folder}, batch {arguments.batch_size}, median of {arguments.rounds} epochs after the first")
    for shuffle in (True, False):
        data = CTRDataModule(folder, arguments.batch_size, shuffle=shuffle)
        loader = data.train_dataloader()
        for num_cores in (1, 2)[: len(cores)]:
            os.sched_setaffinity(0, cores[:num_cores])
            rates = [rows_per_second(loader, epoch) for epoch in range(arguments.rounds + 1)][1:]
            order = "shuffled" if shuffle else "stored order"
            print(
                f"{order:<14}{num_cores} core(s){median(rates):>14,.0f} rows/s  [{min(rates):,.0f}, {max(rates):,.0f}]"
            )
        os.sched_setaffinity(0, cores)


if __name__ == "__main__":
    main()
