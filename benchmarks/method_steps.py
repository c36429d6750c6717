"""Processor time of a training step with each table method beside FullTable's, in turns, in one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from time import process_time

import generated
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recsys.models import DCNv2, DeepFM
from recsys.tables import Feature, FullTable, NumbaLookup, RowWiseAdagrad, Table, TableCollection

DIM, HIDDEN = 16, (400, 400)
NUM_BATCHES = 8
"""Batches that are made beforehand and read in turn."""

TableFactory = Callable[[str, int, int], Table]
Batch = tuple[Tensor, Tensor, Tensor]
"""Ids [F, B], dense values [B, 13], labels [B]."""

MODELS: dict[str, Callable[..., nn.Module]] = {
    "DeepFM": lambda *sizes: DeepFM(*sizes, hidden_dims=HIDDEN),
    "DCNv2": lambda *sizes: DCNv2(*sizes, num_cross_layers=3, hidden_dims=HIDDEN),
}


@dataclass(frozen=True)
class StepTime:
    """Of one method.

    Args:
        method: as it is called in the benchmark.
        tables_ms: processor time of its tables alone: reading, gradients, the step of the rows.
        tables_ratio: the same beside FullTable's.
        step_ms: of a whole step of the model.
        step_ratio: the same beside FullTable's.
    """

    method: str
    tables_ms: float
    tables_ratio: float
    step_ms: float
    step_ratio: float


class Contender:
    """A model, its tables of one method, and its optimizer.

    Args:
        table: makes the table of a column.
        sizes: ids of each column.
        model: a key of MODELS.
    """

    def __init__(self, table: TableFactory, sizes: Sequence[int], model: str) -> None:
        torch.manual_seed(0)
        names = [f"C{position + 1}" for position in range(len(sizes))]
        tables = {name: table(name, size, DIM) for name, size in zip(names, sizes, strict=True)}
        features = [Feature(name, name) for name in names]
        self.tables = TableCollection(features, tables, optimizer=RowWiseAdagrad(0.01), lookup=NumbaLookup)
        self.model = MODELS[model](len(sizes), DIM, generated.NUM_DENSE)
        groups = [{"params": list(self.model.parameters())}, *self.tables.param_groups()]
        self.optimizer = torch.optim.Adam(groups, lr=0.001, fused=True)

    def tables_step(self, batch: Batch) -> None:
        """What the tables have to do in a step, for a gradient that costs nothing."""
        self.optimizer.zero_grad()
        vectors = self.tables(batch[0])
        gradients = [torch.full_like(vectors, 1e-3)]
        penalty = self.tables.regularizer(len(batch[2]))
        found = [vectors] if penalty is None else [vectors, penalty]
        torch.autograd.backward(found, [*gradients, None][: len(found)])
        self.tables.step()
        self.optimizer.step()

    def whole_step(self, batch: Batch) -> None:
        """A step of the model."""
        ids, dense, labels = batch
        self.optimizer.zero_grad()
        loss = F.binary_cross_entropy_with_logits(self.model(self.tables(ids), dense), labels)
        penalty = self.tables.regularizer(len(labels))
        (loss if penalty is None else loss + penalty).backward()
        self.optimizer.step()


def make_batches(sizes: Sequence[int], batch_size: int) -> list[Batch]:
    """Zipf ids, as in the generated folders."""
    generator = np.random.default_rng(0)
    batches = []
    for _ in range(NUM_BATCHES):
        columns = [generated.zipf_ids(generator, size, batch_size) for size in sizes]
        dense = generator.standard_normal((batch_size, generated.NUM_DENSE)).astype(np.float32)
        labels = (generator.random(batch_size) < 0.25).astype(np.float32)
        batches.append((torch.from_numpy(np.stack(columns)), torch.from_numpy(dense), torch.from_numpy(labels)))
    return batches


def measure(
    methods: Mapping[str, TableFactory], sizes: Sequence[int], model: str, batch_size: int, rounds: int, steps: int
) -> Iterator[StepTime]:
    """FullTable's steps and a method's, next to each other in every round; medians over rounds.

    Args:
        methods: by name.
        sizes: ids of each column.
        model: a key of MODELS.
        batch_size: rows of a batch.
        rounds: measurements of each.
        steps: of each in a round.
    """
    batches = make_batches(sizes, batch_size)
    base = Contender(FullTable, sizes, model)
    for name, table in methods.items():
        other = Contender(table, sizes, model)
        pairs = {
            kind: _raced([getattr(each, kind) for each in (base, other)], batches, rounds, steps)
            for kind in ("tables_step", "whole_step")
        }
        (alone, alone_ratio), (whole, whole_ratio) = pairs["tables_step"], pairs["whole_step"]
        yield StepTime(name, 1000 * alone, alone_ratio, 1000 * whole, whole_ratio)


def _raced(
    jobs: Sequence[Callable[[Batch], None]], batches: Sequence[Batch], rounds: int, steps: int
) -> tuple[float, float]:
    """Seconds of a step of the second job, and its ratio to the first's; a first round is not counted."""
    seconds: list[list[float]] = []
    for number in range(rounds + 1):
        taken = []
        for job in jobs:
            started = process_time()
            for step in range(steps):
                job(batches[(number * steps + step) % len(batches)])
            taken.append((process_time() - started) / steps)
        seconds.append(taken)
    counted = seconds[1:]
    return median(second for _, second in counted), median(second / first for first, second in counted)
