"""Predictions of a checkpoint on its data, beside the data's own columns: what `recsys evaluate --ckpt_path` reads."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from recsys.configuration.suggestions import explain


def predict_with_columns(checkpoint: Path, command: Sequence[str], columns: Sequence[str], folder: Path) -> Path:
    """Predict in ``folder`` and return a Parquet file with label, score and the columns, row by row.

    Args:
        checkpoint: of `lightning fit`.
        command: what follows `lightning predict`: -c CONFIG and overrides.
        columns: of the prepared data, to group or slice by.
        folder: an empty folder.

    Raises:
        ValueError: if the checkpoint does not exist or the data have no such column.
    """
    from recsys.configuration.lightning_cli import run
    from recsys.data import CTRDataModule

    if not checkpoint.exists():
        raise ValueError(f"--ckpt_path: '{checkpoint}' does not exist.")
    quiet = [f"--trainer.default_root_dir={folder}", "--trainer.logger=false"]
    cli = run(["predict", f"--ckpt_path={checkpoint}", *command, *quiet])
    if not isinstance(cli.datamodule, CTRDataModule):
        raise ValueError("--ckpt_path: evaluates tasks on CTRDataModule; for others give prediction files.")
    schema, split = cli.datamodule.schema, cli.datamodule.predict_split
    known = [column.name for column in schema.columns]
    for name in columns:
        if name not in known:
            raise ValueError(explain(f"{schema.path} has no column '{name}'", name, known))
    path = folder / "predictions.parquet"
    table = pq.read_table(path)
    files = sorted((schema.path / split).glob("*.parquet"))
    beside = pa.concat_tables([pq.read_table(file, columns=list(columns)) for file in files])
    for name in columns:
        table = table.append_column(name, beside[name])
    pq.write_table(table, path)
    return path
