"""What the tests of next-item tasks share: made items and sessions, a small task and a quiet trainer."""

from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch.utils.data import DataLoader

from recsys.data import Column, SessionBatch
from recsys.models import SASRec
from recsys.tables import TorchLookup
from recsys.tasks import NextItemTask

NUM_ITEMS, DIM, MAX_LENGTH = 30, 8, 6


@dataclass(frozen=True)
class Items:
    """Stands in for a schema: every item has a colour, its id modulo 3, and a size, its id divided by 10."""

    num_items: int = NUM_ITEMS

    @property
    def item_columns(self):
        return (Column("colour", "categorical", 3), Column("size", "categorical", self.num_items // 10 + 1))

    def item_values(self, name):
        ids = np.arange(self.num_items + 1)
        return ids % 3 if name == "colour" else ids // 10

    def item_counts(self):
        return np.ones(self.num_items + 1, np.int64)


def padded(sessions, **more):
    lengths = torch.tensor([len(session) for session in sessions])
    items = torch.zeros(len(sessions), max(1, int(lengths.max())), dtype=torch.int64)
    for row, session in enumerate(sessions):
        items[row, : len(session)] = torch.tensor(session, dtype=torch.int64)
    return SessionBatch(items, lengths, **more)


def cyclic_sessions(number, seed=0, length=MAX_LENGTH):
    """Each item is followed by the next, and the last by the first."""
    generator = np.random.default_rng(seed)
    starts, lengths = generator.integers(0, NUM_ITEMS, number), generator.integers(2, length + 1, number)
    return [[(start + i) % NUM_ITEMS + 1 for i in range(n)] for start, n in zip(starts, lengths, strict=True)]


def training_batches(number=8, size=32, length=MAX_LENGTH):
    return [padded(cyclic_sessions(size, seed, length)) for seed in range(number)]


def evaluation_batches():
    sessions = cyclic_sessions(64, seed=99)
    return [padded([s[:-1] for s in sessions], targets=torch.tensor([s[-1] for s in sessions]))]


def loader(batches):
    return DataLoader(batches, batch_size=None)


def sasrec(*sizes):
    return SASRec(*sizes, num_blocks=1, dropout=0.0)


def make_task(kind=NextItemTask, **arguments):
    arguments = {"model": sasrec, "embedding_dim": DIM, "max_length": MAX_LENGTH, "lookup": TorchLookup, **arguments}
    return kind(**{"schema": Items(), **arguments})


def make_trainer(folder, **arguments):
    quiet = ("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing")
    settings = {"default_root_dir": folder, "accelerator": "cpu", **dict.fromkeys(quiet, False), **arguments}
    return Trainer(**settings)


def adam(parameters):
    return torch.optim.Adam(parameters, lr=0.02)
