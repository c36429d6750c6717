"""One process of sharded training on sessions; started by torchrun, or called for the run of one process."""

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Callback, Trainer

from recsys.data import SessionDataModule
from recsys.losses import (
    GBCE,
    BinaryCrossEntropy,
    Cosine,
    FullCrossEntropy,
    PopularitySampler,
    SampledSoftmax,
    Sampler,
    UniformSampler,
)
from recsys.models import HSTU, PISA, GRU4Rec, SASRec
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables import SGD, Adagrad, HashTable, QRTable, RowWiseAdagrad, TorchLookup
from recsys.tasks import NextItemTask, PISATask, PredictionWriter
from tests.sharding.states import whole_state

BATCH, NUM_STEPS = 12, 20
"""Sessions of all processes in every step, and steps of two epochs."""


class Shared(PopularitySampler):
    """Always the same negatives."""

    def draw(self, targets, catalogue):
        return torch.arange(1, catalogue.num_items, 3)


class Following(UniformSampler):
    """Two negatives of every target's own, the items after it."""

    def draw(self, targets, catalogue):
        return (targets.unsqueeze(1) + torch.arange(self.num_negatives)) % catalogue.num_items + 1


def following(num_negatives: int) -> Sampler:
    return Following(num_negatives, per_target=True)


def quiet(model, **options):
    """Without dropout, which each process draws for itself."""
    return lambda *sizes: model(*sizes, num_blocks=1, dropout=0.0, **options)


HASHED = {"default": lambda name, v, d: HashTable(name, v, d, num_rows=9, num_lookups=2)}
CASES = {
    "full": {},
    "full, compressed": {"tables": {"default": QRTable}},
    "full, rows in backward": {"table_optimizer": Adagrad(0.1)},
    "full, compressed, rows in backward": {"tables": HASHED, "table_optimizer": RowWiseAdagrad(0.1)},
    "full, in chunks": {"loss": FullCrossEntropy(7), "tables": {"default": QRTable}, "scoring": Cosine(0.2)},
    "sampled softmax": {"loss": SampledSoftmax(Shared()), "table_optimizer": RowWiseAdagrad(0.1)},
    "sampled softmax, compressed": {
        "loss": SampledSoftmax(Shared()),
        "tables": {"default": QRTable},
        "table_optimizer": Adagrad(0.1),
    },
    "gbce": {"loss": GBCE(Shared()), "tables": HASHED, "table_optimizer": SGD(0.5)},
    "bce": {"loss": BinaryCrossEntropy(following(2)), "model": quiet(GRU4Rec), "table_optimizer": Adagrad(0.1)},
    "hstu": {"model": quiet(HSTU, use_times=True), "loss": SampledSoftmax(Shared())},
    "described": {"item_features": ["item", "colour"], "predict": {"colour": 0.5}, "table_optimizer": Adagrad(0.1)},
    "pisa": {"model": quiet(PISA), "sampler": following(1), "table_optimizer": Adagrad(0.1), "session_gap": 150},
    "pisa, dense": {"model": quiet(PISA), "sampler": following(1), "session_gap": 150},
}


class Losses(Callback):
    """The mean over processes of each step's loss."""

    def __init__(self) -> None:
        self.found: list[float] = []

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        loss = outputs["loss"].clone()
        if trainer.world_size > 1:
            dist.all_reduce(loss)
        self.found.append(float(loss) / trainer.world_size)


def task_of(schema, case: str) -> NextItemTask:
    kind = PISATask if case.startswith("pisa") else NextItemTask
    settings = {"model": quiet(SASRec), "lookup": TorchLookup, **CASES[case]}
    torch.manual_seed(0)
    return kind(
        schema=schema,
        # Width 6 is padded to 8 by the sharded kernels.
        embedding_dim=6 if case == "full, rows in backward" else 8,
        max_length=8,
        # The usual eps would make steps of the rounding errors that are the gradients of attention's key biases.
        optimizer=lambda groups: torch.optim.Adam(groups, lr=0.005, eps=1e-5),
        warmup_steps=3,
        **settings,
    )


def train(prepared: Path, case: str, num_ranks: int, folder: Path) -> dict:
    """Two epochs, the last step of each with a session too few for all processes; then validation."""
    losses = Losses()
    trainer = Trainer(
        default_root_dir=folder,
        max_epochs=2,
        accelerator="cpu",
        devices=num_ranks,
        strategy=TorchrecStrategy(replicate_rows=5) if num_ranks > 1 else "auto",
        callbacks=[losses, PredictionWriter(f"{case}.parquet")],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
    )
    data = SessionDataModule(prepared, BATCH // num_ranks, 8, train_length=8, eval_batch_size=10, shuffle=False)
    task = task_of(data.schema, case)
    trainer.fit(task, datamodule=data)
    (metrics,) = trainer.validate(task, datamodule=data, verbose=False)
    metrics |= trainer.test(task, datamodule=data, verbose=False)[0]
    trainer.predict(task, datamodule=data, return_predictions=False)
    return {"state": whole_state(task), "metrics": metrics, "losses": losses.found}


def main(folder: Path, prepared: Path, num_ranks: int) -> None:
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    found = {case: train(prepared, case, num_ranks, folder) for case in CASES}
    if dist.get_rank() == 0:
        torch.save(found, folder / "found.pt")
    dist.barrier()
    # gloo's threads now and then abort a process that leaves in the ordinary way, after all is done.
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
