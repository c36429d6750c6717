"""The checkpoint that stages end with: the one that validates best, its rows in the precision they are served in."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recsys.checkpoints.file import write
from recsys.checkpoints.reading import read
from recsys.compression.model import checkpoint_of, collection_of
from recsys.compression.quality import measured_splits, quality_of, scores_in_bf16
from recsys.compression.trained import Compressed
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.tables import CompactTable, TableCollection
from recsys.tables.compact import RowPrecision
from recsys.tasks import TableTask


@torch.no_grad()
def stored_rows(collection: TableCollection, precision: RowPrecision) -> dict[str, Compressed]:
    """All tables of a collection, the rows of CompactTables as codes or halves; the others as they are.

    Raises:
        ValueError: if a value is beyond the precision's range.
    """
    found: dict[str, Compressed] = {}
    for name in dict.fromkeys(feature.table for feature in collection.features):
        table = collection.table(name)
        rows = {each.name: collection.lookup.weight(each.name).detach() for each in table.physical_tables()}
        if isinstance(table, CompactTable):
            arguments: dict[str, Any] = {**table.arguments, "precision": precision}
            narrow = CompactTable(**arguments)
            narrow.common.copy_(table.common)
            stored = [narrow.stored(values.float()) for values in rows.values()]
            table, rows = narrow, {each: values for found_rows in stored for each, values in found_rows.items()}
        found[name] = (table, rows)
    return found


def best_in_validation(command: Sequence[str], checkpoints: Sequence[Path], precision: RowPrecision) -> Path:
    """The checkpoint that validates best by its task's first metric; of equal ones, or without a val split, the first.

    They are compared as they would be served.

    Args:
        command: -c CONFIG and overrides that all of them go with.
        checkpoints: one or more.
        precision: of rows.
    """
    cli = RecsysCLI.launch(command, run=False)
    if len(checkpoints) == 1 or "val" not in measured_splits(cli.datamodule):
        return checkpoints[0]
    cli.model.configure_model()
    trained, quality = cli.model.collection, quality_of(cli.model.eval(), scores_in_bf16(cli.trainer))

    def value(checkpoint: Path) -> float:
        cli.model.collection = trained
        cli.model.load_state_dict(read(checkpoint)["state_dict"])
        _serve(cli.model, precision)
        return quality.value(quality.of_split(cli.datamodule, "val"))

    return max(checkpoints, key=value)


def _serve(task: TableTask, precision: RowPrecision) -> None:
    """Let the task read its rows in a precision."""
    if precision != "float32":
        task.collection = collection_of(task, stored_rows(task.collection, precision)).eval()


def write_served(command: Sequence[str], trained: Path, target: Path, precision: RowPrecision) -> None:
    """Put the weights of a checkpoint in their place, its rows in a precision, so that a run begins with them.

    Args:
        command: -c CONFIG and overrides of the checkpoint.
        trained: the checkpoint.
        target: its place.
        precision: of rows.
    """
    task, content = RecsysCLI.launch(command, run=False).model, read(trained)
    task.configure_model()
    task.load_state_dict(content["state_dict"])
    _serve(task, precision)
    write(target, checkpoint_of(task, content))
