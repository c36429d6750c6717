"""Whether a task on sessions fits the data it is about to read, asked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from lightning.pytorch import Trainer
from torch import nn

from recsys.data import SessionDataModule


@dataclass(frozen=True)
class Needs:
    """What a task asks of the data and of its rows.

    Args:
        task: name of its class.
        num_items: V.
        reads_item_rows: whether each item has rows of its own.
        times: what needs the times of events, and what to do without; empty if nothing does.
        max_length: most events of a session that the model reads; None if there is no limit.
        num_only_targets: events of a training session that are never read.
        trims_evaluation: whether evaluation leaves out what exceeds max_length.
        visits: seconds between events beyond which a new visit begins, and the most visits of a window that are read,
            the latest; None if visits are not cut.
    """

    task: str
    num_items: int
    reads_item_rows: bool
    times: str
    max_length: int | None
    num_only_targets: int = 1
    trims_evaluation: bool = False
    visits: tuple[int, int] | None = None


def times_needed(model: nn.Module) -> str:
    """What `Needs.times` says of a session model."""
    name = type(model).__name__
    return f"{name}: use_times=True needs times; set use_times: false" if getattr(model, "use_times", False) else ""


def check_sessions(needs: Needs, trainer: Trainer, stage: str) -> None:
    """Refuse what would fail at some later batch; before training, say what cannot be reached.

    Raises:
        ValueError: naming the arguments that do not fit each other, and what to change.
    """
    data = getattr(trainer, "datamodule", None)
    if not isinstance(data, SessionDataModule):
        return
    if needs.times and not data.schema.has_times:
        raise ValueError(f"{needs.times}; SessionDataModule: path='{data.schema.path}' has sessions without times.")
    if needs.max_length is not None:
        _check_lengths(needs, needs.max_length, data, stage)
    if stage == "fit" and not len(data.train_windows()):
        raise ValueError(
            f"SessionDataModule: path='{data.schema.path}': no train sequence has two events, so that none follows "
            "another and nothing would be trained; prepare longer sequences (--min-length of recsys prepare sessions)."
        )
    if stage == "fit" and trainer.is_global_zero:
        for sentence in out_of_reach(needs, data):
            print(sentence)


def _check_lengths(needs: Needs, limit: int, data: SessionDataModule, stage: str) -> None:
    if data.max_length > limit and not needs.trims_evaluation:
        raise ValueError(
            f"SessionDataModule: max_length={data.max_length} exceeds {needs.task}'s max_length={limit}; "
            "give both the same max_length."
        )
    longest = limit + needs.num_only_targets
    if stage == "fit" and data.train_length > longest:
        raise ValueError(
            f"SessionDataModule: train_length={data.train_length} is more than {needs.task} trains on with "
            f"max_length={limit}; set train_length to {longest} or less, or raise {needs.task}'s max_length."
        )


def out_of_reach(needs: Needs, data: SessionDataModule) -> list[str]:
    """Sentences on the targets that no list can hold, and on the events that are not trained on."""
    return [*_targets_out_of_reach(needs, data), *_events_left_out(needs, data)]


def _targets_out_of_reach(needs: Needs, data: SessionDataModule) -> Iterator[str]:
    val = data.sequences("val")
    if val.targets is None or not len(val):
        return
    owners = np.repeat(np.arange(len(val)), val.lengths)
    is_repeat = np.bincount(owners, val.items == val.targets[owners], minlength=len(val)) > 0
    if data.filter_seen and is_repeat.any():
        yield (
            f"filter_seen: {is_repeat.mean():.1%} of val's targets are in their own history and count as missed, "
            "because items of the history are not recommended; filter_seen: false recommends them"
        )
    is_cold = data.schema.item_counts()[val.targets] == 0
    if needs.reads_item_rows and is_cold.any():
        yield (
            f"items: {is_cold.mean():.1%} of val's targets are items without a training event, whose own rows, if the "
            "table has such, are as they were drawn; item_features without 'item' know them by their metadata, a "
            "SemanticIdTable or ContentTable by what they are"
        )


def _events_left_out(needs: Needs, data: SessionDataModule) -> Iterator[str]:
    train, windows = data.sequences("train"), data.train_windows()
    num_events = int(np.maximum(train.lengths - 1, 0).sum())
    num_left_out = num_events - windows.num_targets()
    if num_left_out:
        yield (
            f"windows: {num_left_out / num_events:.1%} of the training events that follow another are no target of any "
            f"window; a stride below train_length={data.train_length} and no max_windows reach them all"
        )
    if needs.visits is None or train.times is None or not len(windows):
        return
    gap, most = needs.visits
    visits = np.cumsum(np.diff(train.times, prepend=train.times[:1]) > gap)
    first_kept = np.searchsorted(visits, visits[windows.stop - 1] - most + 1)
    num_unread = int(np.maximum(first_kept - windows.start, 0).sum())
    if num_unread:
        yield (
            f"sessions: {num_unread / windows.lengths.sum():.1%} of the events of training windows are in sessions "
            f"before the latest {most}, which are all that {needs.task} reads; raise its max_length"
        )
