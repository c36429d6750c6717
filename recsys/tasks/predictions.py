"""Predictions as Parquet, written batch by batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
import torch.distributed as dist
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from recsys.argument_types import typed
from recsys.evaluation.files import WEIGHT_OF_FILE
from recsys.tables import Bag
from recsys.tables.sharded.first_process import first_decides
from recsys.tasks.published_file import PublishedFile

GROUP_ROWS = 65_536
_WEIGHT = "weight"

_OTHERS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".npy")
"""Ends of names of files that are read otherwise than Parquet, whatever is in them."""


class PredictionWriter(BasePredictionWriter):
    """Writes what predict_step returns, a column per entry, in the order of the rows.

    The columns that the data keep beside their features, such as a row's own key, follow. Several processes write a
    part each, in one folder that all of them see; the first puts the parts together. The file appears when it is whole;
    one run at a time can write it.

    Args:
        path: of the file, relative to the trainer's default_root_dir.
        overwrite: whether an existing file is replaced, and not kept.

    Attributes:
        announces: the file's path is printed when it is there.
    """

    @typed
    def __init__(self, path: str = "predictions.parquet", overwrite: bool = False) -> None:
        super().__init__(write_interval="batch")
        if not path or Path(path).suffix.lower() in _OTHERS:
            raise ValueError(f"PredictionWriter: path must name a Parquet file, as predictions.parquet, got {path!r}.")
        self.path = Path(path)
        self.overwrite = overwrite
        self.announces = True
        self._file: PublishedFile | None = None
        self._word = ""
        self._writer: _Groups | None = None
        self._num_rows: list[int] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Claim the file before anything is read or computed.

        Raises:
            ValueError: it exists and is to be kept, is a link, or another run is writing it.
        """
        if stage != "predict":
            return
        self._file = PublishedFile(Path(trainer.default_root_dir) / self.path, self.overwrite)
        self._word = first_decides(self._file.claim)
        self._num_rows = []

    def write_on_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        prediction: dict[str, Tensor | Bag],
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Append one batch."""
        rows = _table(prediction, getattr(batch, "beside", None))
        self._num_rows.append(len(rows))
        if self._writer is None:
            # Several processes' parts are put together batch by batch.
            group_rows = GROUP_ROWS if trainer.world_size == 1 else 1
            self._writer = _Groups(self._place(f"part{trainer.global_rank}"), rows.schema, group_rows)
        self._writer.add(rows)

    def on_predict_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Give the finished file its name."""
        if self._writer is None:
            return
        self._writer.close()
        self._writer = None
        made = self._place("part0")
        if trainer.world_size > 1:
            takes_turns = bool(getattr(trainer.predict_dataloaders, "ranks_take_turns", False))
            made = self._joined(trainer, takes_turns)
        if trainer.is_global_zero:
            assert self._file is not None
            self._file.publish(made)
            if self.announces:
                print(f"predictions: {self._file.target}")

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Leave nothing behind."""
        self._release()

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the name back."""
        self._release()

    def _release(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        if self._file is not None:
            self._file.release(self._word)
            self._file = None

    def _place(self, name: str) -> Path:
        assert self._file is not None
        return self._file.place(self._word, name)

    def _joined(self, trainer: Trainer, takes_turns: bool) -> Path:
        """Put all parts together; every process calls this."""
        counts: list[list[int]] = [self._num_rows] * trainer.world_size
        dist.all_gather_object(counts, self._num_rows)
        made = self._place("joined")
        if trainer.is_global_zero:
            _join_parts([self._place(f"part{rank}") for rank in range(trainer.world_size)], counts, takes_turns, made)
        dist.barrier()
        return made


class _Groups:
    """Writes rows as they come, in row groups of some size or more.

    Args:
        path: of the file.
        schema: of the rows.
        group_rows: least rows of a group but the last.
    """

    def __init__(self, path: Path, schema: pa.Schema, group_rows: int) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", write_page_checksum=True)
        self._group_rows = group_rows
        self._waiting: list[pa.Table] = []

    def add(self, rows: pa.Table) -> None:
        """Write them, or keep them until there are more."""
        if len(rows):
            self._waiting.append(rows)
        if sum(map(len, self._waiting)) >= self._group_rows:
            self._flush()

    def close(self) -> None:
        """Write what waits, and the end of the file."""
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        if self._waiting:
            rows = pa.concat_tables(self._waiting)
            self._writer.write_table(rows, row_group_size=len(rows))
            self._waiting = []


def _table(prediction: Mapping[str, Tensor | Bag], beside: pa.Table | None) -> pa.Table:
    """Rows of a batch: what was predicted, then the columns that the data keep beside it.

    Raises:
        ValueError: if a column of the data has the name of another one here, with other values.
    """
    rows = pa.table({name: _column(values) for name, values in prediction.items()})
    own = [] if beside is None else zip(beside.column_names, beside.columns, strict=True)
    for name, column in own:
        if name not in prediction:
            rows = rows.append_column(name, column)
        elif not rows.column(name).equals(column.cast(rows.schema.field(name).type)):
            raise ValueError(
                f"predict: column '{name}' of the data has the name of one that is predicted; leave it out."
            )
    return rows.replace_schema_metadata({WEIGHT_OF_FILE: _WEIGHT}) if _WEIGHT in prediction else rows


def _column(values: Tensor | Bag) -> pa.Array:
    """One value a row from [B], a list of K a row from [B, K], and lists of any length from a bag."""
    if isinstance(values, Bag):
        ends = values.lengths.cumsum(0).cpu()
        offsets = torch.cat([ends.new_zeros(1), ends]).to(torch.int32)
        return pa.ListArray.from_arrays(pa.array(offsets.numpy()), pa.array(values.values.cpu().numpy()))
    if values.dtype in (torch.bfloat16, torch.float16):
        # Of a trainer in half precision, which numpy or readers of Parquet do not know.
        values = values.float()
    flat = pa.array(values.reshape(-1).cpu().numpy())
    return flat if values.dim() == 1 else pa.FixedSizeListArray.from_arrays(flat, values.shape[1])


def _join_parts(files: Sequence[Path], counts: Sequence[Sequence[int]], takes_turns: bool, made: Path) -> None:
    """Join the files into another one; few batches at a time are in memory.

    Args:
        files: of every process, a row group for each of its batches that is not empty.
        counts: rows of each batch of every process.
        takes_turns: whether processes take turns at batches, or each has a stretch of them.
        made: the file to write.
    """
    parts = [pq.ParquetFile(file) for file in files]
    groups = [_row_groups(part, count) for part, count in zip(parts, counts, strict=True)]
    writer = _Groups(made, parts[0].schema_arrow, GROUP_ROWS)
    for table in (table for turn in zip(*groups, strict=True) for table in turn) if takes_turns else _chain(groups):
        if table is not None:
            writer.add(table)
    writer.close()
    for part in parts:
        part.close()


def _row_groups(part: pq.ParquetFile, counts: Sequence[int]) -> Iterator[pa.Table | None]:
    """The rows of each batch, None for an empty one."""
    number = 0
    for count in counts:
        yield part.read_row_group(number) if count else None
        number += count > 0


def _chain(groups: Sequence[Iterator[pa.Table | None]]) -> Iterator[pa.Table | None]:
    for tables in groups:
        yield from tables
