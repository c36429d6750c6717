"""Callbacks on a metric of validation look after validations, and only where there are any."""

from __future__ import annotations

import re

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from recsys.evaluation.directions import direction


def look_after_validations(trainer: Trainer) -> None:
    """Let EarlyStopping look at metrics of validation after each of these, unless it has been told when.

    Lightning lets it look after a training epoch where that has one validation; a run whose max_steps end in the middle
    of an epoch has had none, and would fail after its last step.
    """
    for callback in trainer.early_stopping_callbacks:
        if callback.monitor.startswith("val/") and callback._check_on_train_epoch_end is None:
            callback._check_on_train_epoch_end = False


def check_watched(trainer: Trainer) -> None:
    """Refuse a callback that watches nothing, takes the worst for the best, or watches validation without rows for it.

    Raises:
        ValueError: naming the callback, the metric and its mode or the data.
    """
    for callback in _watching(trainer):
        meant = _with_split(str(callback.monitor))
        if meant is not None and _logs_ours_alone(trainer):
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor}, which nothing logs; did you mean {meant}?"
            )
        better = direction(str(callback.monitor))
        if better is not None and callback.mode != better:
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor} with mode: {callback.mode}, which takes the "
                f"worst for the best; write mode: {better}."
            )
    schema = getattr(getattr(trainer, "datamodule", None), "schema", None)
    splits = getattr(schema, "splits", None)
    if not splits or ("val" in splits and splits["val"].num_rows):
        return
    for callback in _watching(trainer):
        if str(callback.monitor).startswith("val/"):
            raise ValueError(
                f"{type(callback).__name__} watches {callback.monitor}, and '{getattr(schema, 'path', '')}' has no val "
                "rows; leave it out, or prepare data with them."
            )


def _with_split(monitor: str) -> str | None:
    """A metric of validation whose split is left out, or apart by something else than a slash."""
    name = re.sub(r"^val[_.-]", "", monitor)
    name = {"loss": "log_loss"}.get(name, name)
    return None if "/" in monitor or direction(name) is None else f"val/{name}"


def _logs_ours_alone(trainer: Trainer) -> bool:
    """Whether what is logged is known: a class of somebody else's may log anything."""
    parts = [trainer.lightning_module, *trainer.callbacks]  # type: ignore[attr-defined]
    return all(type(part).__module__.partition(".")[0] in ("recsys", "lightning") for part in parts)


def _watching(trainer: Trainer) -> list[EarlyStopping | ModelCheckpoint]:
    callbacks = trainer.callbacks  # type: ignore[attr-defined]
    return [callback for callback in callbacks if isinstance(callback, EarlyStopping | ModelCheckpoint)]
