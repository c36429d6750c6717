"""Callbacks on a metric of validation look after validations, and only where there are any."""

from __future__ import annotations

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint


def look_after_validations(trainer: Trainer) -> None:
    """Let EarlyStopping look at metrics of validation after each of these, unless it has been told when.

    Lightning lets it look after a training epoch where that has one validation; a run whose max_steps end in the middle
    of an epoch has had none, and would fail after its last step.
    """
    for callback in trainer.early_stopping_callbacks:
        if callback.monitor.startswith("val/") and callback._check_on_train_epoch_end is None:
            callback._check_on_train_epoch_end = False


def check_watched(trainer: Trainer) -> None:
    """Refuse a callback that watches validation where the data have no rows for it.

    Raises:
        ValueError: naming the callback, the metric and the data.
    """
    schema = getattr(getattr(trainer, "datamodule", None), "schema", None)
    splits = getattr(schema, "splits", None)
    if not splits or ("val" in splits and splits["val"].num_rows):
        return
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        is_watching = isinstance(callback, EarlyStopping | ModelCheckpoint)
        if is_watching and str(callback.monitor).startswith("val/"):
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor}, and '{getattr(schema, 'path', '')}' has no val "
                "rows; leave it out, or prepare data with them."
            )
