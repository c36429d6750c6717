"""One process of a stage of a run that goes on with another number of processes at every stage."""

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback

from recsys.data import CTRDataModule, Schema
from recsys.data.batch import Batch
from recsys.models import DeepFM
from recsys.sharding.strategy import TorchrecStrategy
from recsys.tables import RowWiseAdagrad, UnifiedTable
from recsys.tasks import CTRTask
from tests.sharding.states import whole_state

GLOBAL_BATCH = 160
STEPS_PER_STAGE = 3


class Watch(Callback):
    """Notes what a stage began with, and every sample it trained on."""

    def __init__(self, checkpoint: Path) -> None:
        self.checkpoint = checkpoint
        self.before: dict[str, torch.Tensor] = {}
        self.after: dict[str, torch.Tensor] = {}
        self.seen: list[torch.Tensor] = []

    def on_train_start(self, trainer: Trainer, pl_module: CTRTask) -> None:
        self.before = state_of(trainer, pl_module)

    def on_train_batch_start(self, trainer: Trainer, pl_module: CTRTask, batch: Batch, batch_idx: int) -> None:
        self.seen.append(torch.cat([batch.ids.t().float(), batch.dense], dim=1))

    def on_train_batch_end(self, trainer: Trainer, pl_module: CTRTask, *args: object) -> None:
        if trainer.global_step == trainer.max_steps:
            self.after = state_of(trainer, pl_module)
            trainer.save_checkpoint(self.checkpoint)


def state_of(trainer: Trainer, task: CTRTask) -> dict[str, torch.Tensor]:
    """Everything that training changes."""
    (optimizer,) = trainer.optimizers
    moments = {
        f"{number}.{kind}": value.clone()
        for number, state in optimizer.state_dict()["state"].items()
        for kind, value in state.items()
    }
    return {name: value.clone() for name, value in (whole_state(task) | moments).items()}


def main(folder: Path, prepared: Path, stage: int, is_straight: bool) -> None:
    """Train three steps from the stage before, or all steps from the start; leave a checkpoint and the state."""
    num_ranks = int(os.environ["WORLD_SIZE"])
    watch = Watch(folder / f"{stage}.ckpt")
    trainer = Trainer(
        max_steps=STEPS_PER_STAGE * (stage + 1),
        accelerator="cpu",
        devices=num_ranks,
        # A run without interruptions takes plain steps, and must reach the same.
        strategy=TorchrecStrategy(replicate_rows=20, pipeline=not is_straight, process_group_backend="gloo"),
        callbacks=[watch],
        logger=False,
        enable_progress_bar=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
    )
    # Where a run begins must not matter to one that goes on.
    torch.manual_seed(0 if is_straight or not stage else 100 + stage)
    task = CTRTask(
        lambda *sizes: DeepFM(*sizes, hidden_dims=(8,), dropout=0.2),
        Schema.read(prepared),
        8,
        tables={"default": lambda name, v, d: UnifiedTable(name, v, d, num_rows=200, num_lookups=2)},
        table_optimizer=RowWiseAdagrad(0.05),
        optimizer=lambda groups: torch.optim.Adam(groups, lr=0.005),
    )
    data = CTRDataModule(prepared, batch_size=GLOBAL_BATCH // num_ranks, shuffle=True, seed=4)
    trainer.fit(task, datamodule=data, ckpt_path=None if is_straight or not stage else folder / f"{stage - 1}.ckpt")
    seen: list = [None] * num_ranks
    dist.all_gather_object(seen, torch.cat(watch.seen))
    if trainer.is_global_zero:
        torch.save({"before": watch.before, "after": watch.after, "seen": torch.cat(seen)}, folder / f"{stage}.pt")


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:] == ["straight"])
    dist.barrier()
    # gloo's threads now and then abort a process that leaves in the ordinary way, after all is done.
    os._exit(0)
