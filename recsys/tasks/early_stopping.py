"""EarlyStopping on a metric of validation looks after validations."""

from __future__ import annotations

from lightning.pytorch import Trainer


def look_after_validations(trainer: Trainer) -> None:
    """Let EarlyStopping look at metrics of validation after each of these, unless it has been told when.

    Lightning lets it look after a training epoch where that has one validation; a run whose max_steps end in the middle
    of an epoch has had none, and would fail after its last step.
    """
    for callback in trainer.early_stopping_callbacks:
        if callback.monitor.startswith("val/") and callback._check_on_train_epoch_end is None:
            callback._check_on_train_epoch_end = False
