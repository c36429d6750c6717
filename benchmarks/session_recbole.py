"""SASRec in RecBole, with full cross-entropy, and here: targets per second on the same data, sizes and threads.

    python -m pip install --no-deps recbole colorlog colorama thop texttable tabulate plotly
    python benchmarks/session_recbole.py --data data/beauty --threads 2
    python benchmarks/session_recbole.py --data data/ml-1m-sessions --max-length 200 --blocks 2 --threads 2

RecBole makes one row of every prefix of a session and trains on its last position; NextItemTask trains on all positions
of a session at once. All take whole steps, of as many targets in the mean: batch, loss, backward pass, Adam. Rounds of
equal time are in turns, medians are printed. The contenders here are those of configs/beauty.yaml, at width 64, and of
configs/beauty_sampled.yaml; session_recbole_quality.py measures how good RecBole's model is.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import machine
import numpy as np
import torch
from recbole_sasrec import RecBoleSASRec

from recsys.data import SessionDataModule
from recsys.losses import Cosine, FullCrossEntropy, Loss, SampledSoftmax, UniformSampler
from recsys.models import SASRec
from recsys.tasks import NextItemTask

DIM, DROPOUT = 64, 0.2


def recbole_steps(model: RecBoleSASRec) -> Iterator[int]:
    """Train on, and tell the targets of each step."""
    while True:
        yield from model.epoch()


def sequences_with(num_targets: int, data: SessionDataModule) -> int:
    """How many training sequences have so many targets in the mean."""
    lengths = np.minimum(data.sequences("train").lengths - 1, data.max_length)
    return max(1, round(num_targets / lengths[lengths > 0].mean()))


def own_steps(data: SessionDataModule, num_blocks: int, loss: Loss) -> Iterator[int]:
    """Train on, and tell the targets of each step."""
    model = lambda *sizes: SASRec(*sizes, num_blocks=num_blocks, num_heads=1, dropout=DROPOUT)  # noqa: E731
    recipe = {"loss": loss, "scoring": Cosine(), "optimizer": partial(torch.optim.Adam, fused=True)}
    task = NextItemTask(model, data.schema, DIM, data.max_length, **recipe)
    task.configure_model()
    task.log = lambda *_, **__: None  # type: ignore[method-assign]
    optimizer = task.configure_optimizers()
    loader: Any = data.train_dataloader()
    while True:
        for batch in loader:
            optimizer.zero_grad()
            task.training_step(batch, 0).backward()
            optimizer.step()
            yield int((batch.lengths - 1).sum())


def rate(steps: Iterator[int], seconds: float) -> float:
    """Targets a second, over whole steps that take at least so long."""
    begin, num_targets = perf_counter(), 0
    while (taken := perf_counter() - begin) < seconds:
        num_targets += next(steps)
    return num_targets / taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder written by data_scripts/sessions.py")
    parser.add_argument("--max-length", type=int, default=50)
    parser.add_argument("--blocks", type=int, default=1)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10.0, help="that a round of one contender takes, or more")
    parser.add_argument("--targets", type=int, default=2048, help="of a step; 2,048 is RecBole's default")
    parser.add_argument("--negatives", type=int, default=2048)
    parser.add_argument("--bucket-batches", type=int, default=1, help="see SessionDataModule")
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    print(machine.line())
    data = SessionDataModule(settings.data, max_length=settings.max_length, bucket_batches=settings.bucket_batches)
    data.setup("fit")
    data.batch_size = sequences_with(settings.targets, data)
    with tempfile.TemporaryDirectory() as folder:
        recbole = RecBoleSASRec(data, Path(folder), DIM, settings.blocks, DROPOUT, settings.targets)
        sampled = SampledSoftmax(UniformSampler(settings.negatives))
        contenders = {
            "RecBole": recbole_steps(recbole),
            "recsys": own_steps(data, settings.blocks, FullCrossEntropy()),
            f"recsys, {settings.negatives:,} negatives": own_steps(data, settings.blocks, sampled),
        }
        rates: dict[str, list[float]] = {name: [] for name in contenders}
        for round_number in range(settings.rounds + 1):
            for name, steps in contenders.items():
                found = rate(steps, settings.seconds)
                if round_number:
                    rates[name].append(found)
    for name, found_rates in rates.items():
        ratios = [own / other for own, other in zip(found_rates, rates["RecBole"], strict=True)]
        print(
            f"{name}: {median(found_rates):,.0f} targets/s ({min(found_rates):,.0f} to {max(found_rates):,.0f}), "
            f"{median(ratios):.1f} times RecBole's ({min(ratios):.1f} to {max(ratios):.1f})"
        )


if __name__ == "__main__":
    main()
