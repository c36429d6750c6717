"""Targets per second of session training: SASRec on generated sessions of Beauty's or MovieLens-1M's size.

    python benchmarks/session_speed.py --size beauty --threads 2

A step is one batch through lookup, model, loss, backward pass and both optimisers, as NextItemTask takes it. Every
position of a session is a target. Sessions have the real sets' numbers of users and items and their mean lengths;
their items are drawn by Zipf's law. Rounds of all losses are interleaved, and the best round of each is printed.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from time import perf_counter

import machine
import numpy as np
import torch

from recsys.data import SessionBatch
from recsys.losses import FullCrossEntropy, Loss, SampledSoftmax, UniformSampler
from recsys.models import SASRec
from recsys.tables import DenseGradient, RowWiseAdagrad, TableOptimizer
from recsys.tasks import NextItemTask


@dataclass(frozen=True)
class Size:
    """What a generated set looks like; stands in for a schema."""

    num_items: int
    mean_length: float
    max_length: int
    num_blocks: int
    item_columns = ()

    def item_counts(self):
        return np.ones(self.num_items + 1, np.int64)


SIZES = {"beauty": Size(12_101, 6.9, 50, 1), "ml-1m": Size(3_416, 130.0, 200, 2)}
CONTENDERS: dict[str, tuple[Loss, TableOptimizer]] = {
    "full cross-entropy, dense rows": (FullCrossEntropy(), DenseGradient()),
    "sampled softmax (256), rows in backward": (SampledSoftmax(UniformSampler(256)), RowWiseAdagrad(0.05)),
}


def generated(size, batch_size, seed):
    generator = np.random.default_rng(seed)
    lengths = np.clip(generator.geometric(1 / size.mean_length, batch_size) + 1, 2, size.max_length + 1)
    items = np.minimum(generator.zipf(1.2, (batch_size, lengths.max())), size.num_items)
    items[np.arange(items.shape[1]) >= lengths[:, None]] = 0
    return SessionBatch(torch.from_numpy(items), torch.from_numpy(lengths))


def rate(task, optimizer, batches):
    start, num_targets = perf_counter(), 0
    for batch in batches:
        optimizer.zero_grad()
        task.training_step(batch, 0).backward()
        optimizer.step()
        num_targets += int((batch.lengths - 1).sum())
    return num_targets / (perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SIZES, default="beauty")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=128)
    settings = parser.parse_args()
    torch.set_num_threads(settings.threads)
    print(machine.line())
    size = SIZES[settings.size]
    batches = [generated(size, settings.batch_size, seed) for seed in range(settings.steps)]
    contenders = {}
    for name, (loss, rows) in CONTENDERS.items():
        task = NextItemTask(
            lambda *sizes: SASRec(*sizes, num_blocks=size.num_blocks),
            size,
            max_length=size.max_length,
            loss=loss,
            table_optimizer=rows,
            optimizer=lambda parameters: torch.optim.Adam(parameters, lr=0.001, fused=True),
        )
        task.configure_model()
        task.log = lambda *_, **__: None
        contenders[name] = (task, task.configure_optimizers())
    rates = {name: [] for name in contenders}
    for _ in range(settings.rounds):
        for name, (task, optimizer) in contenders.items():
            rates[name].append(rate(task, optimizer, batches))
    for name, found in rates.items():
        print(f"{settings.size}, {settings.threads} threads, {name}: {max(found):,.0f} targets/s")


if __name__ == "__main__":
    main()
