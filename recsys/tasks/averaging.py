"""An exponential moving average of the weights, used for every evaluation and kept in the checkpoints."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.trainer.states import TrainerFn
from torch import Tensor

from recsys.argument_types import typed

_CURRENT, _AVERAGING = "current_model_state", "averaging_state"
"""Entries of a checkpoint, named as Lightning's WeightAveraging names them."""


class WeightEMA(Callback):
    """Evaluates and saves the moving average of all parameters; training goes on with the weights themselves.

    Rows are averaged where they are parameters (DenseGradient); rows that an optimiser updates in the backward pass,
    in one process or sharded over several, are used as they are. So are buffers: averaging would destroy the integers
    that route ids.

    Unlike Lightning's WeightAveraging it copies parameters and no module, which may hold rows, processes and the
    command line. Parameters are equal in all processes, and so are their averages.

    Args:
        decay: of the average per step, in [0, 1); early steps use (1 + t) / (10 + t) where that is smaller.

    Raises:
        ValueError: if decay is outside [0, 1).
    """

    @typed
    def __init__(self, decay: float = 0.999) -> None:
        if not 0 <= decay < 1:
            raise ValueError(f"WeightEMA: decay must be in [0, 1), got {decay}.")
        self.decay = decay
        self._means: list[Tensor] | None = None
        self._num_averaged = 0
        self._last_step = 0
        self._is_swapped = False

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Forget the averages of a fit before."""
        if stage == "fit":
            self._means, self._num_averaged, self._is_swapped = None, 0, False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Training goes on from the weights; everything else keeps the average that the checkpoint's weights are."""
        if trainer.state.fn == TrainerFn.FITTING and _AVERAGING in checkpoint:
            self._means = [parameter.detach().clone() for parameter in pl_module.parameters()]
            self._num_averaged = int(checkpoint[_AVERAGING]["n_averaged"])
            # It has only what the average differs in.
            pl_module.load_state_dict(checkpoint[_CURRENT], strict=False)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin with the weights, or bring what a checkpoint had to where they are."""
        parameters = [parameter.detach() for parameter in pl_module.parameters()]
        if self._means is None:
            self._means = [parameter.clone() for parameter in parameters]
        else:
            self._means = [mean.to(parameter) for mean, parameter in zip(self._means, parameters, strict=True)]

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note where a resumed run stands."""
        self._last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Average after every step of the optimizer, which may take several batches."""
        if trainer.global_step == self._last_step:
            return
        self._last_step = trainer.global_step
        num = self._num_averaged
        weight = 1 - min(self.decay, (1 + num) / (10 + num)) if num else 1.0
        for mean, parameter in self._pairs(pl_module):
            mean.lerp_(parameter, weight)
        self._num_averaged += 1

    def on_validation_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Evaluate the average while training; after it the weights are the average, or a checkpoint's."""
        if trainer.state.fn == TrainerFn.FITTING:
            self._swap(pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Go back to the weights."""
        self._go_back(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Go back to the weights in the middle of an evaluation, too: what is saved then is not to be their average."""
        self._go_back(pl_module)

    @torch.no_grad()
    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Leave the average as the weights."""
        for mean, parameter in self._pairs(pl_module):
            parameter.copy_(mean)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Save the average as the weights, and beside it the weights that differ from it."""
        if self._means is None:
            return
        current, averaged = checkpoint["state_dict"], self._averaged_state(pl_module)
        checkpoint["state_dict"] = averaged
        checkpoint[_CURRENT] = {name: value for name, value in current.items() if _differs(value, averaged[name])}
        checkpoint[_AVERAGING] = {"n_averaged": torch.tensor(self._num_averaged)}

    def _averaged_state(self, pl_module: LightningModule) -> dict[str, Any]:
        """The state with averages in the place of parameters, which keep their memory: nothing is copied."""
        kept = [(parameter, parameter.data) for parameter in pl_module.parameters()]
        try:
            for mean, parameter in self._pairs(pl_module):
                parameter.data = mean
            return pl_module.state_dict()
        finally:
            for parameter, values in kept:
                parameter.data = values

    def _go_back(self, pl_module: LightningModule) -> None:
        if self._is_swapped:
            self._swap(pl_module)

    @torch.no_grad()
    def _swap(self, pl_module: LightningModule) -> None:
        for mean, parameter in self._pairs(pl_module):
            values = parameter.clone()
            parameter.copy_(mean)
            mean.copy_(values)
        self._is_swapped = not self._is_swapped

    def _pairs(self, pl_module: LightningModule) -> list[tuple[Tensor, Tensor]]:
        assert self._means is not None
        return list(zip(self._means, pl_module.parameters(), strict=True))


def _differs(current: Any, averaged: Any) -> bool:
    """Whether they are not the same memory; sharded rows are the same, and no parameters."""
    is_plain = isinstance(current, Tensor) and not hasattr(current, "local_shards")
    return is_plain and current.data_ptr() != averaged.data_ptr()
