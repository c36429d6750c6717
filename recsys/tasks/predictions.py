"""Predictions as Parquet, written batch by batch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor


def _column(values: Tensor) -> pa.Array:
    """One value a row from [B], a list of K a row from [B, K]."""
    flat = pa.array(values.reshape(-1).cpu().numpy())
    return flat if values.dim() == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


class PredictionWriter(BasePredictionWriter):
    """Writes what predict_step returns, a column per entry, in the order of the rows.

    Args:
        path: of the file, relative to the trainer's default_root_dir.

    Raises:
        ValueError: when prediction begins, on several processes: they would write the same file.
    """

    def __init__(self, path: str = "predictions.parquet") -> None:
        super().__init__(write_interval="batch")
        self.path = Path(path)
        self._writer: pq.ParquetWriter | None = None
        self._target = self.path

    def on_predict_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write beside the target, and move there when all is done."""
        if trainer.world_size > 1:
            raise ValueError(
                f"PredictionWriter writes in one process, got {trainer.world_size}; set trainer.devices: 1."
            )
        self._target = Path(trainer.default_root_dir) / self.path
        self._target.parent.mkdir(parents=True, exist_ok=True)

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
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._partial, rows.schema)
        self._writer.write_table(rows)

    @property
    def _partial(self) -> Path:
        return self._target.with_name(self._target.name + ".partial")

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the finished file its name."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
            self._partial.replace(self._target)
            print(f"predictions: {self._target}")
