"""Whether a next-item task fits the data it is about to read, asked before anything runs."""

from __future__ import annotations

from dataclasses import dataclass

from lightning.pytorch import Trainer
from torch import nn

from recsys.data import SessionDataModule
from recsys.losses import FullCrossEntropy, Loss
from recsys.tasks.objectives import Objective


@dataclass(frozen=True)
class Needs:
    """What a task asks of the data and of its rows.

    Args:
        task: name of its class.
        objective: what is predicted from what.
        num_items: V.
        loss: that training goes through; None if it has a loss of its own.
        updates_in_backward: whether some rows are updated in the backward pass.
        times: what needs the times of events, and what to do without; empty if nothing does.
        max_length: most events of a session that the model reads; None if there is no limit.
    """

    task: str
    objective: Objective
    num_items: int
    loss: Loss | None
    updates_in_backward: bool
    times: str
    max_length: int | None


def times_needed(model: nn.Module) -> str:
    """What `Needs.times` says of a session model."""
    name = type(model).__name__
    return f"{name}: use_times=True needs times; set use_times: false" if getattr(model, "use_times", False) else ""


def check_sessions(needs: Needs, trainer: Trainer, stage: str) -> None:
    """Refuse what would fail at some later batch.

    Raises:
        ValueError: naming the arguments that do not fit each other, and what to change.
    """
    if stage == "fit" and isinstance(needs.loss, FullCrossEntropy):
        needs.loss.check_chunks(needs.num_items, needs.updates_in_backward)
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, SessionDataModule):
        return
    if needs.times and not data.schema.has_times:
        raise ValueError(f"{needs.times}; SessionDataModule: path='{data.schema.path}' has sessions without times.")
    if needs.max_length is not None:
        _check_lengths(needs, needs.max_length, data, stage)


def _check_lengths(needs: Needs, limit: int, data: SessionDataModule, stage: str) -> None:
    if data.max_length > limit and not needs.objective.trims_evaluation:
        raise ValueError(
            f"SessionDataModule: max_length={data.max_length} exceeds {needs.task}'s max_length={limit}; "
            "give both the same max_length."
        )
    longest = limit + needs.objective.num_only_targets
    if stage == "fit" and data.train_length > longest:
        raise ValueError(
            f"SessionDataModule: train_length={data.train_length} is more than {needs.task} trains on with "
            f"max_length={limit}; set train_length to {longest} or less, or raise {needs.task}'s max_length."
        )
