"""One process of a sharded run: trains every case and leaves what came out; started by torchrun."""

import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from recsys.data import BatchLoader, CTRDataModule, Schema
from recsys.data.batch import Batch, concatenate
from recsys.data.order import RowOrder
from recsys.data.parquet import ParquetSplit
from recsys.models import DLRM
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables import (
    LRU,
    SGD,
    Adagrad,
    Adam,
    ALPTTable,
    CAFETable,
    DeepHashTable,
    DenseGradient,
    DPQTable,
    FullTable,
    HashEmbeddingTable,
    HashTable,
    ManagedCollisionTable,
    MGQETable,
    MixedDimTable,
    PathQRTable,
    PrunedTable,
    QRConcatTable,
    QRSumTable,
    QRTable,
    QuantizedTable,
    RowWiseAdagrad,
    TTTable,
    UnifiedTable,
)
from recsys.tasks import CTRTask, PredictionWriter, WeightEMA
from tests.sharding.states import whole_state

BATCH = 222
TABLES = {
    "full": FullTable,
    "hash": lambda name, v, d: HashTable(name, v, d, num_rows=40, num_lookups=2),
    "unified": lambda name, v, d: UnifiedTable(name, v, d, num_rows=200, num_lookups=2),
    "qr": QRTable,
    "qr_sum": QRSumTable,
    "qr_concat": QRConcatTable,
    "mixed_dim": lambda name, v, d: MixedDimTable(name, v, d, alpha=0.3),
    "managed_collision": lambda name, v, d: ManagedCollisionTable(
        name, v, d, num_rows=25, policy=LRU(), eviction_interval=3
    ),
}
CASES = {name: (table, RowWiseAdagrad(0.05)) for name, table in TABLES.items()}
CASES["adagrad"] = (TABLES["unified"], Adagrad(0.05))
CASES["sgd"] = (TABLES["full"], SGD(0.1))
CASES["dense"] = (TABLES["full"], DenseGradient(learning_rate=0.01))
CASES["adam"] = (TABLES["hash"], Adam(0.01))
CASES["weighted"] = (lambda name, v, d: HashEmbeddingTable(name, v, d, num_rows=40, num_weights=60), Adagrad(0.05))
CASES["pruned"] = (lambda name, v, d: PrunedTable(name, v, d, num_rows=150), RowWiseAdagrad(0.05))
CASES["deep"] = (lambda name, v, d: DeepHashTable(name, v, d, hidden_dim=4, num_hashes=6), SGD(0.1))
CASES["cafe"] = (lambda name, v, d: CAFETable(name, v, d, num_rows=60, interval=3), Adagrad(0.05))
CASES["quantized"] = (QuantizedTable, SGD(0.1))
CASES["tensor_train"] = (lambda name, v, d: TTTable(name, v, d, rank=3), RowWiseAdagrad(0.05))
CASES["path_qr"] = (lambda name, v, d: PathQRTable(name, v, d, num_rows=1 + v // 4, hidden_dim=4), RowWiseAdagrad(0.05))
# A first step of Adagrad is the rate whatever the gradient: it would blow up last bits until other levels are nearest.
CASES["dpq"] = (lambda name, v, d: DPQTable(name, v, d, num_choices=16), SGD(0.1))
CASES["mgqe"] = (lambda name, v, d: MGQETable(name, v, d, num_choices=16, num_rare_choices=4), SGD(0.1))
CASES["alpt"] = (ALPTTable, SGD(0.1))
CASES["accumulated"] = CASES["unified"]
CASES["rows clipped"] = CASES["sgd"]
CASES["averaged"] = CASES["qr"]
CASES["averaged dense"] = CASES["dense"]
RESUMED = ("managed_collision", "cafe", "unified")
"""Cases that two processes also train in two runs; two are cut off with ids waiting for a row."""


PIPELINED = ("full", "qr", "mixed_dim", "managed_collision", "dense")
"""Cases that two processes also train with pipelined steps; dynamic ids and replicated rows have nothing to send."""


class StartedSteps(Callback):
    """Counts the steps whose lookups were begun in the step before."""

    number = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: CTRTask, batch: Batch, batch_idx: int) -> None:
        self.number += batch.started is not None


def trainer_of(num_ranks: int, max_epochs: int, case: str, pipeline: bool = False) -> Trainer:
    averages = [WeightEMA(0.9)] if case.startswith("averaged") else []
    return Trainer(
        max_epochs=max_epochs,
        callbacks=[PredictionWriter(f"{num_ranks}-{case}.parquet", overwrite=True), StartedSteps(), *averages],
        accelerator="cpu",
        devices=num_ranks,
        strategy=TorchrecStrategy(replicate_rows=20, pipeline=pipeline),
        gradient_clip_val=0.5,
        accumulate_grad_batches=2 if case == "accumulated" else 1,
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )


def task_of(schema: Schema, case: str) -> CTRTask:
    table, optimizer = CASES[case]
    torch.manual_seed(0)
    return CTRTask(
        lambda *sizes: DLRM(*sizes, bottom_dims=(8,), top_dims=(8,)),
        schema,
        8 if case in RESUMED else 6,
        tables={"default": table},
        table_optimizer=optimizer,
        optimizer=lambda groups: torch.optim.Adam(groups, lr=0.005),
        warmup_steps=5,
        clip_rows=case == "rows clipped",
    )


def fit(trainer: Trainer, task: CTRTask, prepared: Path, checkpoint: Path | None = None) -> CTRDataModule:
    """Train on the samples of two processes in every step, however many there are."""
    data = CTRDataModule(prepared, batch_size=BATCH // 2, eval_batch_size=100, shuffle=False)
    if trainer.world_size == 2:
        trainer.fit(task, datamodule=data, ckpt_path=checkpoint)
    else:
        trainer.fit(task, train_dataloaders=GlobalBatches(prepared), ckpt_path=checkpoint)
    return data


def train(prepared: Path, case: str, num_ranks: int, pipeline: bool = False) -> dict:
    """Two epochs of 10 steps, the last of each uneven."""
    trainer, task = trainer_of(num_ranks, 2, case, pipeline), task_of(Schema.read(prepared), case)
    data = fit(trainer, task, prepared)
    (metrics,) = trainer.validate(task, datamodule=data, verbose=False)
    metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    trainer.predict(task, datamodule=data, return_predictions=False)
    (started,) = (each.number for each in trainer.callbacks if isinstance(each, StartedSteps))
    return {"state": whole_state(task), "metrics": metrics, "steps": trainer.global_step, "started": started}


def resume(prepared: Path, case: str, num_ranks: int, checkpoint: Path) -> dict:
    """The second epoch, from a checkpoint that two processes left after the first."""
    if num_ranks == 2:
        first = trainer_of(num_ranks, 1, case)
        fit(first, task_of(Schema.read(prepared), case), prepared)
        first.save_checkpoint(checkpoint)
    trainer, task = trainer_of(num_ranks, 2, case), task_of(Schema.read(prepared), case)
    fit(trainer, task, prepared, checkpoint)
    return {"state": whole_state(task), "metrics": {}, "steps": trainer.global_step}


class GlobalBatches:
    """What two processes train on in every step, as one batch."""

    def __init__(self, prepared: Path) -> None:
        split = ParquetSplit(Schema.read(prepared), "train")
        order = RowOrder(split.group_rows, seed=0, shuffle=False, shuffle_blocks=1)
        loaders = (BatchLoader(split, order, batch_size=BATCH // 2, rank=rank, num_ranks=2) for rank in range(2))
        self.batches = [concatenate(parts) for parts in zip(*loaders, strict=True)]

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)


def main(prepared: Path, folder: Path, num_ranks: int) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = {case: train(prepared, case, num_ranks) for case in CASES}
    for case in RESUMED:
        found[f"resumed {case}"] = resume(prepared, case, num_ranks, folder / f"{case}.ckpt")
    if num_ranks == 2:
        found |= {f"pipelined {case}": train(prepared, case, num_ranks, pipeline=True) for case in PIPELINED}
    if dist.get_rank() == 0:
        torch.save(found, folder / f"{num_ranks}.pt")
    dist.barrier()
    # gloo's threads now and then abort a process that leaves in the ordinary way, after all is done.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[2]), Path(sys.argv[1]), int(sys.argv[3]))
