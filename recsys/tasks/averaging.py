"""An exponential moving average of the weights, used for every evaluation and kept in the checkpoints."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor


class WeightEMA(WeightAveraging):
    """Evaluates and saves the moving average of all parameters; training goes on with the weights themselves.

    Rows are averaged where they are parameters (DenseGradient); rows that an optimiser updates in the backward pass
    are used as they are. Buffers are copied: averaging would destroy the integers that route ids.

    Args:
        decay: of the average per step, in [0, 1); early steps use (1 + t) / (10 + t) where that is smaller.

    Raises:
        ValueError: if decay is outside [0, 1).
    """

    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"WeightEMA: decay must be in [0, 1), got {decay}.")

        def average(mean: Tensor, value: Tensor, num_averaged: Tensor | int) -> Tensor:
            steps = float(num_averaged)
            return mean.lerp(value, 1 - min(decay, (1 + steps) / (10 + steps)))

        super().__init__(use_buffers=False, avg_fn=average)
        self.decay = decay

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Training goes on from the weights; everything else keeps the average that the checkpoint's weights are."""
        if trainer.state.fn == TrainerFn.FITTING:
            super().on_load_checkpoint(trainer, pl_module, checkpoint)
