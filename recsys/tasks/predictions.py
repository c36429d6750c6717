"""Predictions as Parquet, written batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


def _column(values: Tensor) -> pa.Array:
    """One value a row from [B], a list of K a row from [B, K]."""
    flat = pa.array(values.reshape(-1).cpu().numpy())
    return flat if values.dim() == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


class PredictionWriter(BasePredictionWriter):
    """Writes what predict_step returns, a column per entry, in the order of the rows.

    Several processes write a part each, in one folder that all of them see; the first puts the parts together.

    Args:
        path: of the file, relative to the trainer's default_root_dir.
    """

    def __init__(self, path: str = "predictions.parquet") -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self._writer: pq.ParquetWriter | None = None
        self._target = self.path
        self._part = self.path
        self._num_rows: list[int] = []

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write beside the target, and move there when all is done."""
        self._target = Path(trainer.default_root_dir) / self.path
        self._target.parent.mkdir(parents=True, exist_ok=True)
        self._part = _part(self._target, trainer.global_rank)
        self._num_rows = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Tensor],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append one batch."""
        rows = pa.table({name: _column(values) for name, values in prediction.items()})
        self._num_rows.append(len(rows))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._part, rows.schema)
        if len(rows):
            # One row group a batch, so that parts can be put together batch by batch.
            self._writer.write_table(rows, row_group_size=len(rows))

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the finished file its name."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        if trainer.world_size > 1:
            takes_turns = bool(getattr(trainer.predict_dataloaders, "ranks_take_turns", False))
            self._join(trainer, takes_turns)
        if trainer.is_global_zero:
            self._part.replace(self._target)
            print(f"predictions: {self._target}")

    def _join(self, trainer: Trainer, takes_turns: bool) -> None:
        """Put all parts together in the first process' place; every process calls this."""
        counts: list[list[int]] = [self._num_rows] * trainer.world_size
        dist.all_gather_object(counts, self._num_rows)
        if trainer.is_global_zero:
            files = [_part(self._target, rank) for rank in range(trainer.world_size)]
            _join_parts(files, counts, takes_turns)
        dist.barrier()


def _part(target: Path, rank: int) -> Path:
    return target.with_name(f"{target.name}.partial-{rank}")


def _join_parts(files: Sequence[Path], counts: Sequence[Sequence[int]], takes_turns: bool) -> None:
    """Join the files into the first one; a batch at a time is in memory.

    Args:
        files: of every process, a row group for each of its batches that is not empty.
        counts: rows of each batch of every process.
        takes_turns: whether processes take turns at batches, or each has a stretch of them.
    """
    parts = [pq.ParquetFile(file) for file in files]
    groups = [_row_groups(part, count) for part, count in zip(parts, counts, strict=True)]
    joined = files[0].with_name(f"{files[0].name}.joined")
    with pq.ParquetWriter(joined, parts[0].schema_arrow) as writer:
        in_order = (table for turn in zip(*groups, strict=True) for table in turn) if takes_turns else _chain(groups)
        for table in in_order:
            if table is not None:
                writer.write_table(table)
    for part, file in zip(parts, files, strict=True):
        part.close()
        file.unlink()
    joined.replace(files[0])


def _row_groups(part: pq.ParquetFile, counts: Sequence[int]) -> Iterator[pa.Table | None]:
    """The rows of each batch, None for an empty one."""
    number = 0
    for count in counts:
        yield part.read_row_group(number) if count else None
        number += count > 0


def _chain(groups: Sequence[Iterator[pa.Table | None]]) -> Iterator[pa.Table | None]:
    for tables in groups:
        yield from tables
