"""What a training step takes with semantic ids beside FullTable: processor time of one thread, DLRM on 26 columns.

    python benchmarks/semantic_ids.py [--rounds 25]

Every column has a table of the method; columns have 10 to 100,000 ids, batches 4,096 rows of skewed ids. Contenders
step in turns; medians and ratios to FullTable are printed.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import generated
import machine
import torch
from torch import Tensor, nn

from recsys.models import DLRM
from recsys.tables import (
    Feature,
    FullTable,
    NGrams,
    NumbaLookup,
    RandomCodes,
    RowWiseAdagrad,
    SemanticIdTable,
    Table,
    TableCollection,
)

BATCH, DIM, NUM_DENSE = 4096, 16, 13
CODES = RandomCodes(num_levels=4, num_codes=256)
CONTENDERS: dict[str, Callable[[str, int, int], Table]] = {
    "FullTable": FullTable,
    "prefixes, hashed to a fifth": lambda name, v, d: SemanticIdTable(name, v, d, codes=CODES, num_rows=3 + v // 5),
    "the same, precomputed": lambda name, v, d: SemanticIdTable(
        name, v, d, codes=CODES, num_rows=3 + v // 5, precompute=True
    ),
    "unigrams": partial(SemanticIdTable, codes=CODES, adaptation=NGrams()),
}


class Ranker(nn.Module):
    """DLRM on tables of one method."""

    def __init__(self, sizes: list[int], table: Callable[[str, int, int], Table]) -> None:
        super().__init__()
        names = [f"C{column}" for column in range(len(sizes))]
        tables = {name: table(name, size, DIM) for name, size in zip(names, sizes, strict=True)}
        features = [Feature(name, name) for name in names]
        self.tables = TableCollection(features, tables, optimizer=RowWiseAdagrad(0.02), lookup=NumbaLookup)
        self.model = DLRM(
            num_features=len(sizes), embedding_dim=DIM, num_dense=NUM_DENSE, bottom_dims=[512, 256], top_dims=[512, 256]
        )

    def forward(self, ids: Tensor, dense: Tensor) -> Tensor:
        """Ids [F, B] and dense [B, 13] -> logits [B]."""
        logits: Tensor = self.model(self.tables(ids), dense)
        return logits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=25)
    rounds = parser.parse_args().rounds
    torch.set_num_threads(1)
    print(machine.line())
    sizes = generated.geometric_rows(100_000)
    generator = torch.Generator().manual_seed(0)
    ids = [torch.stack([(torch.rand(BATCH, generator=generator) ** 3 * v).long() for v in sizes]) for _ in range(4)]
    dense, labels = torch.randn(BATCH, NUM_DENSE), torch.zeros(BATCH)
    rankers = {name: Ranker(sizes, table) for name, table in CONTENDERS.items()}
    optimizers = {name: torch.optim.Adam(ranker.parameters(), 1e-3) for name, ranker in rankers.items()}
    seconds: dict[str, list[float]] = {name: [] for name in rankers}
    for number in range(rounds):
        for name, ranker in rankers.items():
            started = time.process_time()
            optimizers[name].zero_grad()
            logits = ranker(ids[number % len(ids)], dense)
            nn.functional.binary_cross_entropy_with_logits(logits, labels).backward()
            optimizers[name].step()
            seconds[name].append(time.process_time() - started)
    for name, values in seconds.items():
        ratios = [own / full for own, full in zip(values, seconds["FullTable"], strict=True)]
        print(f"{name:<30}{1000 * median(values):>8.0f} ms a step{median(ratios):>8.2f} times FullTable")


if __name__ == "__main__":
    main()
