"""Samples per second, on the progress bar and in the logs."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from recsys.argument_types import typed
from recsys.data.batch import Batch


class Throughput(Callback):
    """Logs train/samples_per_second over every `every_num_steps` training batches, validation left out.

    Args:
        every_num_steps: batches per measurement, at least 1.

    Attributes:
        rates: every measurement so far.

    Raises:
        ValueError: if every_num_steps < 1.
    """

    @typed
    def __init__(self, every_num_steps: int = 20) -> None:
        if every_num_steps < 1:
            raise ValueError(f"Throughput: every_num_steps must be at least 1, got {every_num_steps}.")
        self.every_num_steps = every_num_steps
        self.rates: list[float] = []
        self._num_samples = 0
        self._num_steps = 0
        self._since = 0.0

    def _restart(self) -> None:
        self._num_samples = self._num_steps = 0
        self._since = perf_counter()

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._restart()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start again after a validation in the middle of an epoch."""
        self._restart()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, batch_idx: int
    ) -> None:
        """Count, and log when the stretch is full."""
        self._num_samples += len(batch)
        self._num_steps += 1
        if self._num_steps == self.every_num_steps:
            rate = self._num_samples * trainer.world_size / (perf_counter() - self._since)
            self.rates.append(rate)
            pl_module.log("train/samples_per_second", rate, prog_bar=True, batch_size=1)
            self._restart()
