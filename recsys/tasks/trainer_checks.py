"""Settings of the trainer that it takes without a word, and that mean nothing or end in the middle of a step."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Trainer

from recsys.tables import TableCollection

_LIMITS = {"fit": "train", "validate": "val", "test": "test", "predict": "predict"}
"""Which split a stage is about, by the trainer's names."""


def check_trainer(trainer: Trainer, stage: str) -> None:
    """Refuse what the trainer takes and no run can mean.

    Args:
        trainer: of the run.
        stage: fit, validate, test or predict.

    Raises:
        ValueError: naming the setting, the value and what to write instead.
    """
    limit = f"limit_{_LIMITS[stage]}_batches"
    for name in (limit, "max_steps") if stage == "fit" else (limit,):
        if getattr(trainer, name, None) == 0:
            raise ValueError(f"trainer.{name}: 0 leaves nothing to do; leave it out.")
    clip = getattr(trainer, "gradient_clip_val", None)
    if clip is not None and not 0 <= clip < math.inf:
        raise ValueError(f"trainer.gradient_clip_val must be at least 0 and finite, got {clip}; leave it out for none.")
    _at_least(trainer, "accumulate_grad_batches", 1)
    _at_least(trainer, "log_every_n_steps", 0)
    _at_least(trainer, "check_val_every_n_epoch", 1)
    _at_least(trainer, "num_sanity_val_steps", -1)
    if stage == "fit" and not getattr(trainer, "fast_dev_run", False):
        _not_beyond(trainer, "epochs")
        _not_beyond(trainer, "steps")
    interval = getattr(trainer, "val_check_interval", None)
    if isinstance(interval, int | float) and not interval > 0:
        raise ValueError(f"trainer.val_check_interval must be above 0, got {interval}.")


def check_begin(trainer: Trainer, collection: TableCollection, is_loaded: bool) -> None:
    """Refuse a run that is too short for what its tables do between epochs, or whose tables wait for a checkpoint.

    Args:
        trainer: of the run.
        collection: its tables.
        is_loaded: whether they have been loaded without the trainer.

    Raises:
        ValueError: naming the table.
    """
    max_epochs = None if getattr(trainer, "fast_dev_run", False) else trainer.max_epochs
    for name in {feature.table: None for feature in collection.features}:
        table = collection.table(name)
        if max_epochs is not None and 0 <= max_epochs < table.min_epochs:
            raise ValueError(
                f"table '{name}' needs at least {table.min_epochs} epochs of training, got "
                f"trainer.max_epochs={max_epochs}; raise it, or let the table do less between epochs."
            )
        if table.awaits_checkpoint and not is_loaded and trainer.ckpt_path is None:
            raise ValueError(
                f"table '{name}' has the stored codes or vectors of a checkpoint, and none is loaded: every item would "
                "be one without content; give --ckpt_path, or the file that they come from."
            )


def _at_least(trainer: Any, name: str, least: int) -> None:
    value = getattr(trainer, name, None)
    if value is not None and value < least:
        raise ValueError(f"trainer.{name} must be at least {least}, got {value}.")


def _not_beyond(trainer: Any, unit: str) -> None:
    least, most = getattr(trainer, f"min_{unit}", None), getattr(trainer, f"max_{unit}", None)
    if least is not None and most is not None and 0 <= most < least:
        raise ValueError(
            f"trainer.min_{unit}={least} is more than max_{unit}={most}, which ends the run; raise that, or lower this."
        )
