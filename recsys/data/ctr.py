"""Lightning's view of a prepared data folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import LightningDataModule
from lightning.pytorch.trainer.states import TrainerFn

from recsys.argument_types import typed
from recsys.data.loader import BatchLoader
from recsys.data.order import RowOrder
from recsys.data.parquet import ParquetSplit
from recsys.data.progress import FitProgress
from recsys.data.schema import Schema
from recsys.data.stages import require_stage
from recsys.hardware import num_cores
from recsys.models.checks import check_at_most

Split = Literal["train", "val", "test"]

MOST_THREADS = 8
"""That read where nothing is said: enough for a GPU, and their row groups take little memory."""


class CTRDataModule(LightningDataModule):
    """Streams the samples of a prepared folder as batches, without ever holding a whole split in memory.

    A killed run goes on with the very next batch of the epoch's order (`fit(ckpt_path=...)`), on as many ranks as
    there are then. The train rows are shuffled by blocks: row groups in random order, and rows within every
    `shuffle_blocks` row groups; the order depends on `seed` and the epoch alone.

    Attributes:
        schema: the columns of the folder.

    Args:
        path: folder written by `recsys prepare`, or by hand (docs/data.md).
        batch_size: rows B of a training batch, of each rank.
        eval_batch_size: rows of a batch of the other splits, of each rank; batch_size if None.
        seed: of the order of the train rows.
        shuffle: False trains on the rows in their stored order.
        shuffle_blocks: row groups mixed with each other. Memory grows with it: about three times the bytes of this
            many row groups (65,536 rows of 40 columns are 10 MB).
        drop_last: whether to leave out the train rows that do not fill a batch on every rank.
        predict_split: what `predict` runs over.
        num_threads: that read and shuffle; None for one for every two cores of each process, 8 at most. The batches do
            not depend on it; every thread holds a row group more in memory.

    Raises:
        FileNotFoundError: if the folder does not exist; the message has the command that makes it.
        ValueError: if an argument or schema.json is not valid; at setup, if a Parquet file lacks a column.
    """

    @typed
    def __init__(
        self,
        path: str | Path,
        batch_size: int = 4096,
        eval_batch_size: int | None = None,
        seed: int = 0,
        shuffle: bool = True,
        shuffle_blocks: int = 4,
        drop_last: bool = False,
        predict_split: Split = "test",
        num_threads: int | None = None,
    ) -> None:
        super().__init__()
        self.allow_zero_length_dataloader_with_multiple_devices = True
        self.schema = Schema.read(path)
        self.batch_size = _positive("batch_size", batch_size)
        self.eval_batch_size = _positive("eval_batch_size", batch_size if eval_batch_size is None else eval_batch_size)
        self.seed = _positive("seed", seed, at_least=0)
        self.shuffle = shuffle
        self.shuffle_blocks = _positive("shuffle_blocks", shuffle_blocks)
        self.drop_last = drop_last
        self.predict_split: Split = predict_split
        self.num_threads = None if num_threads is None else _positive("num_threads", num_threads)
        self._splits: dict[tuple[Split, bool], ParquetSplit] = {}
        self._train_loader: BatchLoader | None = None
        self._state_to_load: dict[str, Any] | None = None

    def setup(self, stage: str) -> None:
        """Check the files that the stage reads, before any work begins."""
        needed: dict[str, tuple[Split, ...]] = {
            "fit": ("train", "val") if self._has_val_rows else ("train",),
            "validate": ("val",),
            "test": ("test",),
            "predict": (self.predict_split,),
        }
        require_stage(stage, needed)
        if self.schema.label is None and stage != "predict":
            raise ValueError(f"'{self.schema.path}' has no labels; such rows can only be predicted.")
        for split in needed[stage]:
            self._split(split)
        if stage == "fit":
            self._check_drop_last()

    def _check_drop_last(self) -> None:
        """Refuse to leave out the only batch there is."""
        num_rows = self.schema.splits["train"].num_rows if "train" in self.schema.splits else 0
        num_batches = num_rows // (self.batch_size * (1 if self.trainer is None else self.trainer.world_size))
        if self.drop_last and not num_batches:
            raise ValueError(
                f"CTRDataModule: drop_last=True leaves no batch of batch_size={self.batch_size} in {num_rows} rows; "
                "lower batch_size, or leave out drop_last."
            )

    @property
    def predict_columns(self) -> tuple[str, ...]:
        """What predictions have beside the ids of features."""
        return (*self.schema.keys, *(() if self.schema.group is None else ("group",)))

    def train_dataloader(self) -> BatchLoader:
        """Shuffled batches of the train split, from the loaded position on."""
        shuffle = self.shuffle and not getattr(self.trainer, "overfit_batches", 0)
        loader = self._loader("train", self.batch_size, shuffle=shuffle, drop_last=self.drop_last)
        if self._state_to_load is not None:
            loader.load_state_dict(self._state_to_load)
            self._state_to_load = None
        self._train_loader = loader
        return loader

    def val_dataloader(self) -> BatchLoader | list[BatchLoader]:
        """Batches of the val split in stored order; none where the folder has no such rows."""
        return self.eval_dataloader("val") if self._has_val_rows else []

    @property
    def _has_val_rows(self) -> bool:
        return "val" in self.schema.splits and self.schema.splits["val"].num_rows > 0

    def test_dataloader(self) -> BatchLoader:
        """Batches of the test split in stored order."""
        return self.eval_dataloader("test")

    def predict_dataloader(self) -> BatchLoader:
        """Batches of `predict_split` in stored order, with the data's key columns."""
        return self._loader(
            self.predict_split, self.eval_batch_size, shuffle=False, drop_last=False, with_keys=bool(self.schema.keys)
        )

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

    def eval_dataloader(self, split: Split) -> BatchLoader:
        """Batches of a split in stored order."""
        return self._loader(split, self.eval_batch_size, shuffle=False, drop_last=False)

    def _loader(
        self, split: Split, batch_size: int, shuffle: bool, drop_last: bool, with_keys: bool = False
    ) -> BatchLoader:
        rows = self._split(split, with_keys)
        trainer = self.trainer
        num_processes = 1 if trainer is None else trainer.num_devices
        return BatchLoader(
            rows,
            RowOrder(rows.group_rows, seed=self.seed, shuffle=shuffle, shuffle_blocks=self.shuffle_blocks),
            batch_size=batch_size,
            rank=0 if trainer is None else trainer.global_rank,
            num_ranks=1 if trainer is None else trainer.world_size,
            drop_last=drop_last,
            progress=FitProgress(trainer) if split == "train" and trainer is not None else None,
            num_threads=self.num_threads or min(MOST_THREADS, max(1, num_cores() // (2 * num_processes))),
            pin_memory=trainer is not None and trainer.strategy.root_device.type == "cuda",
        )

    def _split(self, split: Split, with_keys: bool = False) -> ParquetSplit:
        if (split, with_keys) not in self._splits:
            self._splits[split, with_keys] = ParquetSplit(self.schema, split, with_keys)
        return self._splits[split, with_keys]


def _positive(name: str, value: int, at_least: int = 1) -> int:
    if value < at_least:
        raise ValueError(f"CTRDataModule: {name} must be at least {at_least}, got {value}.")
    check_at_most("CTRDataModule", name, value, 1 << 31)
    return value
