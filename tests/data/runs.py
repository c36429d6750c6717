"""A training run small enough to be repeated, that keeps a record of every batch it trained on."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor

from recsys.data import CTRDataModule
from recsys.data.batch import Batch
from tests.data.folders import numbers


class Recorder(LightningModule):
    """Logistic regression of the dense columns; remembers the rows of each training step."""

    def __init__(self, kill_at: int | None = None, one_cycle: bool = False) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(2))
        self.kill_at = kill_at
        self.one_cycle = one_cycle
        self.seen: list[list[int]] = []

    def training_step(self, batch: Batch) -> Tensor:
        if len(self.seen) == self.kill_at:
            os.kill(os.getpid(), signal.SIGKILL)
        self.seen.append(numbers(batch))
        logits = batch.dense @ self.weight / 100
        return torch.nn.functional.binary_cross_entropy_with_logits(logits, batch.labels)

    def validation_step(self, batch: Batch) -> None:
        assert len(batch)

    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.Adam(self.parameters(), lr=0.1)
        if not self.one_cycle:
            return optimizer
        steps = int(self.trainer.estimated_stepping_batches)
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}


def checkpoints_in(folder: Path) -> ModelCheckpoint:
    """Keeps a checkpoint of every step, and the last one."""
    return ModelCheckpoint(
        folder, filename="{step}", every_n_train_steps=1, save_top_k=-1, save_last=True, auto_insert_metric_name=False
    )


def train(
    data: CTRDataModule,
    model: Recorder | None = None,
    checkpoint: ModelCheckpoint | None = None,
    resume: Path | None = None,
    **options: Any,
) -> Recorder:
    """Fit for three epochs if the options do not say otherwise."""
    model = model or Recorder()
    trainer = Trainer(
        **{"max_epochs": 3, **options},
        accelerator="cpu",
        logger=False,
        callbacks=[] if checkpoint is None else [checkpoint],
        enable_checkpointing=checkpoint is not None,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(model, data, ckpt_path=resume)
    return model
