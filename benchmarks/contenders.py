"""Training loops that are raced: a naive PyTorch loop, torchrec's own DLRM, and this project under Lightning."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter
from typing import Any

import pyarrow.parquet as pq
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from recsys.data import CTRDataModule, Schema
from recsys.evaluation import auc
from recsys.models import DLRM, DeepFM
from recsys.tables import FullTable, RowWiseAdagrad
from recsys.tasks import CTRTask

DIM, HIDDEN, BATCH = 16, (400, 400), 4096
Measurement = tuple[float, float | None]
"""Samples per second, and the validation AUC after training where it was asked for."""


def mlp(width: int) -> nn.Sequential:
    """Linear-ReLU of 400-400, then one logit."""
    first, second = HIDDEN
    return nn.Sequential(nn.Linear(width, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, 1))


class NaiveModel(nn.Module):
    """What a tutorial shows: one nn.Embedding per column, a Python loop over them."""

    def __init__(self, num_embeddings: list[int], num_dense: int, dlrm: bool) -> None:
        super().__init__()
        self.tables = nn.ModuleList([nn.Embedding(size, DIM) for size in num_embeddings])
        for table in self.tables:
            nn.init.normal_(table.weight, std=0.01)
        self.dlrm = dlrm
        num_vectors = len(num_embeddings) + 1
        self.bottom = nn.Sequential(nn.Linear(num_dense, HIDDEN[0]), nn.ReLU(), nn.Linear(HIDDEN[0], DIM), nn.ReLU())
        pairs = num_vectors * (num_vectors - 1) // 2
        self.top = mlp(DIM + pairs if dlrm else DIM * len(num_embeddings) + num_dense)
        self.pairs = torch.triu_indices(num_vectors, num_vectors, 1)

    def forward(self, ids: Tensor, dense: Tensor) -> Tensor:
        vectors = torch.stack([table(ids[:, column]) for column, table in enumerate(self.tables)], 1)
        if not self.dlrm:
            pooled = 0.5 * (vectors.sum(1).square() - vectors.square().sum(1)).sum(1)
            return self.top(torch.cat([vectors.flatten(1), dense], 1)).squeeze(1) + pooled
        bottom = self.bottom(dense)
        joined = torch.cat([bottom.unsqueeze(1), vectors], 1)
        dots = torch.bmm(joined, joined.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
        return self.top(torch.cat([bottom, dots], 1)).squeeze(1)


class TorchrecModel(nn.Module):
    """torchrec's own DLRM on an EmbeddingBagCollection."""

    def __init__(self, num_embeddings: list[int], num_dense: int) -> None:
        super().__init__()
        from torchrec import EmbeddingBagCollection, EmbeddingBagConfig
        from torchrec.models.dlrm import DLRM as TorchrecDLRM

        self.names = [f"C{i + 1}" for i in range(len(num_embeddings))]
        configs = [
            EmbeddingBagConfig(name=f"t_{name}", embedding_dim=DIM, num_embeddings=size, feature_names=[name])
            for name, size in zip(self.names, num_embeddings, strict=True)
        ]
        bags = EmbeddingBagCollection(tables=configs)
        self.net = TorchrecDLRM(bags, num_dense, [HIDDEN[0], DIM], [*HIDDEN, 1])

    def forward(self, ids: Tensor, dense: Tensor) -> Tensor:
        from torchrec import KeyedJaggedTensor

        lengths = torch.ones(ids.numel(), dtype=torch.int32)
        jagged = KeyedJaggedTensor(self.names, ids.t().reshape(-1), lengths=lengths, stride=len(ids))
        return self.net(dense, jagged).squeeze(1)


def load(folder: Path, split: str) -> tuple[Tensor, Tensor, Tensor]:
    """A whole split in memory, row-major."""
    schema = Schema.read(folder)
    table = pq.read_table(folder / split).to_pandas()
    ids = torch.from_numpy(table[[column.name for column in schema.categorical]].to_numpy()).long()
    return ids, torch.from_numpy(table[list(schema.dense)].to_numpy()), torch.from_numpy(table["label"].to_numpy())


def plain_loop(folder: Path, build: Callable[[list[int], int], nn.Module], sparse: bool = False) -> Iterator[Any]:
    """A generator of measurements: send it a number of steps, or None for the validation AUC."""
    schema = Schema.read(folder)
    loader = DataLoader(TensorDataset(*load(folder, "train")), batch_size=BATCH, shuffle=True, drop_last=True)
    model = build([column.num_embeddings or 0 for column in schema.categorical], len(schema.dense))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    batches = iter(loader)
    num_steps = yield None
    while True:
        if num_steps is None:
            num_steps = yield evaluate(folder, model)
            continue
        start, done = perf_counter(), 0
        while done < num_steps:
            for ids, dense, labels in batches:
                optimizer.zero_grad()
                F.binary_cross_entropy_with_logits(model(ids, dense), labels).backward()
                optimizer.step()
                done += 1
                if done == num_steps:
                    break
            else:
                batches = iter(loader)
        num_steps = yield done * BATCH / (perf_counter() - start)


@torch.no_grad()
def evaluate(folder: Path, model: nn.Module) -> float:
    """AUC on the validation split."""
    ids, dense, labels = load(folder, "val")
    logits = [model(i, d) for i, d in zip(ids.split(BATCH), dense.split(BATCH), strict=True)]
    return auc(labels.numpy(), torch.cat(logits).float().numpy())


class Stopwatch(Callback):
    """Seconds between two steps of a fit."""

    def __init__(self, first: int, last: int) -> None:
        self.first, self.last = first, last
        self.seconds = 0.0

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step == self.first:
            self.start = perf_counter()
        if trainer.global_step == self.last:
            self.seconds = perf_counter() - self.start


def lightning_fit(
    folder: Path,
    model: Callable[..., nn.Module],
    num_steps: int,
    *,
    warmup: int = 20,
    table: Callable[..., Any] = FullTable,
    compile_model: bool = False,
    precision: str = "32-true",
    measure_auc: bool = False,
) -> Measurement:
    """This project, reading Parquet, under Lightning's Trainer; the first steps are not counted."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    data = CTRDataModule(folder, batch_size=BATCH, drop_last=True)
    task = CTRTask(
        model,
        data.schema,
        DIM,
        tables={"default": table},
        table_optimizer=RowWiseAdagrad(0.01),
        compile_model=compile_model,
    )
    watch = Stopwatch(warmup, warmup + num_steps)
    epoch = data.schema.splits["train"].num_rows // BATCH
    max_steps = max(epoch, warmup + num_steps) if measure_auc else warmup + num_steps
    trainer = Trainer(
        max_steps=max_steps,
        max_epochs=-1,
        accelerator="cpu",
        callbacks=[watch],
        precision=precision,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
    )
    trainer.fit(task, datamodule=data)
    rate = num_steps * BATCH / watch.seconds
    if not measure_auc:
        return rate, None
    trainer.limit_val_batches = 1.0
    (metrics,) = trainer.validate(task, datamodule=data, verbose=False)
    return rate, metrics["val/auc"]


def deepfm(*sizes: int) -> nn.Module:
    """DeepFM with the raced widths."""
    return DeepFM(*sizes, hidden_dims=HIDDEN)


def dlrm(*sizes: int) -> nn.Module:
    """DLRM with the raced widths."""
    return DLRM(*sizes, bottom_dims=(HIDDEN[0],), top_dims=HIDDEN)
