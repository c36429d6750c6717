"""Samples per second of whole training steps, side by side: naive PyTorch, torchrec's DLRM, this project.

    python benchmarks/training_speed.py [--largest 100000] [--rounds 5] [--compile] [--auc]
    python benchmarks/training_speed.py --criteo --only "DLRM naive" "DLRM recsys" --rounds 3 --steps 3

Contenders run in turns, so that a noisy machine is noisy for all; medians and ratios to the naive loop are printed,
with the rate that the dense part's matrix products alone would allow.
"""

from __future__ import annotations

import argparse
import tempfile
from itertools import pairwise
from pathlib import Path
from statistics import median
from time import perf_counter

import generated
import machine
import torch
from contenders import BATCH, DIM, HIDDEN, NaiveModel, TorchrecModel, deepfm, dlrm, lightning_fit, plain_loop


def matrix_products_only(widths: list[int], dtype: torch.dtype) -> float:
    """Samples per second if a step were nothing but its matrix products, forward and both backward ones."""
    shapes = [((BATCH, i), (o, i), (BATCH, o)) for i, o in pairwise(widths)]
    layers = [[torch.randn(shape).to(dtype) for shape in each] for each in shapes]
    seconds = []
    for _ in range(15):
        start = perf_counter()
        for inputs, weight, grad in layers:
            inputs @ weight.t()
            grad @ weight
            grad.t() @ inputs
        seconds.append(perf_counter() - start)
    return BATCH / median(seconds)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=100_000, help="rows of the largest column")
    parser.add_argument("--criteo", action="store_true", help="the 33,762,577 rows of all of Criteo Kaggle instead")
    parser.add_argument(
        "--only", nargs="+", help="contenders to race; a naive loop with dense Adam takes 256 bytes a row"
    )
    parser.add_argument("--rows", type=int, default=500_000, help="samples of the data set")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=30, help="steps per round")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--compile", action="store_true", help="also with the dense part compiled")
    parser.add_argument("--precision", default="32-true")
    parser.add_argument("--auc", action="store_true", help="also the AUC of each after one epoch")
    return parser.parse_args()


def race(folder: Path, loops, ours, arguments: argparse.Namespace) -> dict[str, float]:
    """Samples per second of every contender: they take turns, and the median of the rounds counts."""
    rates: dict[str, list[float]] = {name: [] for name in (*loops, *ours)}
    for loop in loops.values():
        next(loop)
        loop.send(3)
    for _ in range(arguments.rounds):
        for name, loop in loops.items():
            rates[name].append(loop.send(arguments.steps))
        for name, (model, compiled) in ours.items():
            rate, _ = lightning_fit(
                folder, model, max(30, 3 * arguments.steps), compile_model=compiled, precision=arguments.precision
            )
            rates[name].append(rate)
    return {name: median(values) for name, values in rates.items()}


def report(rates: dict[str, float], num_columns: int, dtype: torch.dtype) -> None:
    """Print rates beside the naive loop's and beside what the matrix products alone, in their dtype, would allow."""
    width = DIM * num_columns + generated.NUM_DENSE
    pairs = num_columns * (num_columns + 1) // 2
    floors = {
        "DeepFM": matrix_products_only([width, *HIDDEN, 1], dtype),
        "DLRM": matrix_products_only([DIM + pairs, *HIDDEN, 1], dtype),
    }
    print(f"{'contender':<26}{'samples/s':>12}{'x naive':>9}{'of products':>13}")
    for name, rate in rates.items():
        model = name.split()[0]
        naive = rates.get(f"{model} naive")
        times = f"{rate / naive:>9.2f}" if naive else f"{'':>9}"
        print(f"{name:<26}{rate:>12,.0f}{times}{rate / floors[model]:>13.0%}")
    if {"DLRM recsys", "DLRM torchrec"} <= rates.keys():
        print(f"DLRM recsys / DLRM torchrec: {rates['DLRM recsys'] / rates['DLRM torchrec']:.2f}")


def report_auc(folder: Path, ours, num_rows: int) -> None:
    """Print the AUC of the naive loops and ours after one epoch."""
    for name, is_dlrm in {"DeepFM naive": False, "DLRM naive": True}.items():
        loop = plain_loop(folder, lambda n, d, is_dlrm=is_dlrm: NaiveModel(n, d, dlrm=is_dlrm))
        next(loop)
        loop.send(int(0.8 * num_rows) // BATCH)
        print(f"AUC after one epoch, {name}: {loop.send(None):.4f}")
    for name, (model, compiled) in ours.items():
        _, area = lightning_fit(folder, model, 10, compile_model=compiled, measure_auc=True)
        print(f"AUC after one epoch, {name}: {area:.4f}")


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    print(machine.line(arguments.precision))
    sizes = generated.CRITEO_ROWS if arguments.criteo else generated.geometric_rows(arguments.largest)
    folder = Path(tempfile.gettempdir()) / f"recsys-speed-{sum(sizes)}-{arguments.rows}"
    generated.write(folder, sizes, arguments.rows)
    loops = {
        "DeepFM naive": plain_loop(folder, lambda n, d: NaiveModel(n, d, dlrm=False)),
        "DLRM naive": plain_loop(folder, lambda n, d: NaiveModel(n, d, dlrm=True)),
        "DLRM torchrec": plain_loop(folder, TorchrecModel),
    }
    ours = {"DeepFM recsys": (deepfm, False), "DLRM recsys": (dlrm, False)}
    if arguments.compile:
        ours |= {"DeepFM recsys compiled": (deepfm, True), "DLRM recsys compiled": (dlrm, True)}
    if arguments.only:
        loops = {name: loop for name, loop in loops.items() if name in arguments.only}
        ours = {name: contender for name, contender in ours.items() if name in arguments.only}
    rates = race(folder, loops, ours, arguments)
    print(f"{sum(sizes):,} rows, batch {BATCH}, {arguments.threads} threads, median of {arguments.rounds} rounds")
    report(rates, len(sizes), torch.bfloat16 if arguments.precision == "bf16-mixed" else torch.float32)
    if arguments.auc:
        report_auc(folder, ours, arguments.rows)


if __name__ == "__main__":
    main()
