"""`trainer.fit` on a device, fed from memory or from Parquet."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from gpu_contenders import fused_adam
from gpu_floor import synchronize
from gpu_memory import allocated, peak
from gpu_settings import GRAPHS, Setting, batches_of
from lightning.pytorch import Callback, Trainer

from recsys.data import CTRDataModule
from recsys.data.batch import Batch
from recsys.tables import RowWiseAdagrad
from recsys.tasks import CTRTask


class Repeated:
    """Batches in memory, again and again."""

    def __init__(self, batches: Sequence[Batch], num_batches: int) -> None:
        self._batches, self._num_batches = batches, num_batches

    def __len__(self) -> int:
        return self._num_batches

    def __iter__(self) -> Iterator[Batch]:
        return (self._batches[i % len(self._batches)] for i in range(self._num_batches))


class Stopwatch(Callback):
    """Seconds from one step to another, a GPU's work included."""

    def __init__(self, first: int, last: int, device: torch.device) -> None:
        self.first, self.last, self.device = first, last, device
        self.times: dict[int, float] = {}

    def on_train_batch_end(self, trainer: Trainer, *args: Any) -> None:
        if trainer.global_step in (self.first, self.last):
            synchronize(self.device)
            self.times[trainer.global_step] = perf_counter()


def under_the_trainer(
    setting: Setting, folder: Path, source: str, graphs: str | None, device: torch.device, num_steps: int
) -> dict[str, Any]:
    """Samples per second of `trainer.fit`, fed from memory or from Parquet."""
    warnings.filterwarnings("ignore")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    before = allocated(device)
    data = CTRDataModule(folder, setting.batch_size, drop_last=True)
    task = CTRTask(
        setting.module,
        data.schema,
        setting.embedding_dim,
        table_optimizer=RowWiseAdagrad(0.01),
        optimizer=fused_adam,
        **(GRAPHS[graphs] if graphs else {}),
    )
    watch = Stopwatch(10, 10 + num_steps, device)
    quiet = ("logger", "enable_progress_bar", "enable_checkpointing", "enable_model_summary")
    trainer = Trainer(
        max_steps=10 + num_steps,
        max_epochs=-1,
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision="bf16-mixed",
        callbacks=[watch],
        limit_val_batches=0,
        num_sanity_val_steps=0,
        **dict.fromkeys(quiet, False),
    )
    if source == "memory":
        trainer.fit(task, train_dataloaders=Repeated(batches_of(setting, torch.device("cpu")), 10 + num_steps))
    else:
        trainer.fit(task, datamodule=data)
    seconds = (watch.times[watch.last] - watch.times[watch.first]) / num_steps
    return {
        "setting": str(setting),
        "contender": f"recsys{f', {graphs}' if graphs else ''}, from {source}",
        "M samples/s": setting.batch_size / seconds / 1e6,
        "ms": 1e3 * seconds,
        "peak GB": (peak(device) - before) / 1e9,
    }
