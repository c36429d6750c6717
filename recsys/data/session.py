"""Lightning's view of a prepared folder of sessions."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from recsys.argument_types import typed
from recsys.data.progress import FitProgress
from recsys.data.sequences import Ints, Sequences, read_sequences
from recsys.data.session_batch import SessionBatch
from recsys.data.session_loader import SessionLoader
from recsys.data.session_order import SessionOrder, Windows, last_events, sliding_windows
from recsys.data.session_schema import SessionSchema
from recsys.data.stages import require_stage
from recsys.models.checks import check_at_most

SessionSplit = Literal["train", "val", "test"]


class SessionDataModule(LightningDataModule):
    """Batches of sessions, of users or of visits, from a folder that data_scripts/sessions.py has prepared.

    A killed run goes on with the very next batch of the epoch's order (`fit(ckpt_path=...)`), on as many ranks as
    there are then. Splits are held in memory: 4 bytes an event, 12 with times.

    Attributes:
        schema: items, metadata and splits of the folder.

    Args:
        path: folder written by data_scripts/sessions.py.
        batch_size: sessions B of a training batch, of each rank.
        max_length: latest events of a session that evaluation reads.
        train_length: most events of a training window; by default max_length + 1, so that a model reads max_length
            events and names the successor of each. A model that reads all events it trains on wants max_length.
        stride: events between the windows that cover a longer session, from its end back; by default train_length - 1,
            so that every event but the first is a target once.
        max_windows: windows of a session at most, the latest; by default as many as cover it.
        eval_batch_size: sessions of a batch of the other splits, of each rank; batch_size if None.
        filter_seen: whether items of a session's history are not to be recommended; then a target that the history
            holds counts as missed. By default as the task has it: PISATask, whose subject is repeats, recommends them,
            other tasks do not.
        seed: of the order of the training windows.
        shuffle: False trains on the windows in their stored order.
        bucket_batches: batches whose windows are sorted by length together; 1, a plain shuffle, is best. More saves
            padding that NextItemTask mostly does without, and makes batches poor samples of all windows.
        predict_split: what `predict` runs over.

    Raises:
        FileNotFoundError: if the folder does not exist; the message has the command that makes it.
        ValueError: if an argument or schema.json is not valid; at setup, if a Parquet file is not.
    """

    @typed
    def __init__(
        self,
        path: str | Path,
        batch_size: int = 128,
        max_length: int = 50,
        train_length: int | None = None,
        stride: int | None = None,
        max_windows: int | None = None,
        eval_batch_size: int | None = None,
        filter_seen: bool | None = None,
        seed: int = 0,
        shuffle: bool = True,
        bucket_batches: int = 1,
        predict_split: SessionSplit = "test",
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.schema = SessionSchema.read(path)
        self.batch_size = _at_least(1, "batch_size", batch_size)
        self.max_length = _at_least(1, "max_length", max_length)
        self.train_length = _at_least(2, "train_length", max_length + 1 if train_length is None else train_length)
        self.stride = _at_least(1, "stride", self.train_length - 1 if stride is None else stride)
        self.max_windows = None if max_windows is None else _at_least(1, "max_windows", max_windows)
        self.eval_batch_size = _at_least(
            1, "eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size
        )
        self._filter_seen = filter_seen
        self.seed = _at_least(0, "seed", seed)
        self.shuffle = shuffle
        self.bucket_batches = _at_least(1, "bucket_batches", bucket_batches)
        self.predict_split: SessionSplit = predict_split
        self._splits: dict[str, Sequences] = {}
        self._train_loader: SessionLoader | None = None
        self._state_to_load: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Read and check the splits that the stage needs, before any work begins."""
        needed: dict[str, tuple[SessionSplit, ...]] = {
            "fit": ("train", "val") if self._has_val_rows else ("train",),
            "validate": ("val",),
            "test": ("test",),
            "predict": (self.predict_split,),
        }
        require_stage(stage, needed)
        for split in needed[stage]:
            self.sequences(split)

    def sequences(self, split: SessionSplit) -> Sequences:
        """All sequences of a split; the same arrays each time, not to be changed."""
        if split not in self._splits:
            self._splits[split] = read_sequences(self.schema, split)
        return self._splits[split]

    @property
    def filter_seen(self) -> bool:
        """Whether items of a session's history are not to be recommended."""
        if self._filter_seen is not None:
            return self._filter_seen
        task = None if self.trainer is None else self.trainer.lightning_module
        return bool(getattr(task, "filters_seen", True))

    def train_windows(self) -> Windows:
        """The stretches of events that an epoch trains on."""
        return sliding_windows(self.sequences("train"), self.train_length, self.stride, self.max_windows)

    def train_dataloader(self) -> SessionLoader:
        """Windows of the train split in batches, from the loaded position on."""
        sequences, windows = self.sequences("train"), self.train_windows()
        shuffle = self.shuffle and not getattr(self.trainer, "overfit_batches", 0)
        order = SessionOrder(windows, self.seed, self.bucket_batches)
        loader = SessionLoader(
            order.epoch if shuffle else lambda epoch, batch_size: np.arange(len(windows)),
            lambda chosen: sequences.stretch(windows.rows[chosen], windows.start[chosen], windows.stop[chosen]),
            len(windows),
            {**self._identity(), "num_windows": len(windows), "shuffle": shuffle},
            batch_size=self.batch_size,
            progress=None if self.trainer is None else FitProgress(self.trainer),
            rank=self._rank,
            num_ranks=self._num_ranks,
            pin_memory=self._pins_memory,
        )
        if self._state_to_load is not None:
            loader.load_state_dict(self._state_to_load)
            self._state_to_load = None
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> SessionLoader | list[SessionLoader]:
        """Histories of the val split with what came next, the longest last; none where the folder has no such rows."""
        return self.eval_dataloader("val") if self._has_val_rows else []

    @property
    def _has_val_rows(self) -> bool:
        return "val" in self.schema.splits and self.schema.splits["val"].num_rows > 0

    def test_dataloader(self) -> SessionLoader:
        """Histories of the test split with what came next, the longest last."""
        return self.eval_dataloader("test")

    def predict_dataloader(self) -> SessionLoader:
        """Histories of `predict_split` in stored order."""
        return self.eval_dataloader(self.predict_split, sort=False)

    def eval_dataloader(self, split: SessionSplit, sort: bool = True) -> SessionLoader:
        """The latest events of every row of a split, whole rows' items as `seen`; sorted by length, or as stored."""
        sequences = self.sequences(split)
        windows = last_events(sequences, self.max_length)
        order = np.argsort(windows.lengths, kind="stable") if sort else np.arange(len(windows))
        filter_seen = self.filter_seen

        def make_batch(chosen: Ints) -> SessionBatch:
            batch = sequences.stretch(chosen, windows.start[chosen], windows.stop[chosen])
            batch.history = sequences.bag(chosen)
            batch.seen = batch.history if filter_seen else None
            return batch

        return SessionLoader(
            lambda epoch, batch_size: order,
            make_batch,
            len(windows),
            {},
            batch_size=self.eval_batch_size,
            rank=self._rank,
            num_ranks=self._num_ranks,
            pin_memory=self._pins_memory,
        )

    @property
    def _pins_memory(self) -> bool:
        return self.trainer is not None and self.trainer.strategy.root_device.type == "cuda"

    def state_dict(self) -> dict[str, Any]:
        """The position in the train split.

        Lightning keeps the loader's state too, but gives it back only to a loader made after the checkpoint was read;
        a scheduler that asks for `estimated_stepping_batches` makes it earlier.
        """
        return {} if self._train_loader is None else self._train_loader.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Keep the position for the next train loader, if training is what the checkpoint is read for."""
        if state_dict and (self.trainer is None or self.trainer.state.fn == TrainerFn.FITTING):
            self._state_to_load = state_dict

    def _identity(self) -> dict[str, Any]:
        """What the order of the training windows depends on, beside the epoch and the batch size."""
        return {
            "checksum": self.schema.checksum,
            "train_length": self.train_length,
            "stride": self.stride,
            "max_windows": self.max_windows,
            "seed": self.seed,
            "bucket_batches": self.bucket_batches,
        }

    @property
    def _rank(self) -> int:
        return 0 if self.trainer is None else self.trainer.global_rank

    @property
    def _num_ranks(self) -> int:
        return 1 if self.trainer is None else self.trainer.world_size


def _at_least(minimum: int, name: str, value: int) -> int:
    if value < minimum:
        raise ValueError(f"SessionDataModule: {name} must be at least {minimum}, got {value}.")
    check_at_most("SessionDataModule", name, value, 1 << 31)
    return value
