"""`recsys describe`: what the tables of a checkpoint hold.

recsys describe --ckpt_path last.ckpt -c configs/criteo.yaml --out description
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from recsys.checkpoints.data_differences import without_remap
from recsys.checkpoints.reading import read
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.data.counts import check_counts, read_counts
from recsys.description.optimizer_state import dense_model, read_state_bytes
from recsys.description.portrait import portray
from recsys.description.report import DescriptionReport
from recsys.description.shared import shared_notes
from recsys.human import human_bytes
from recsys.prepare.files.command_parser import SEED, CommandParser
from recsys.tables import TableCollection
from recsys.tasks.base import TableTask


def main(arguments: Sequence[str]) -> int:
    """Describe, print and write; returns the exit code.

    Raises:
        ValueError: on a checkpoint, config or counts that cannot be read or do not fit each other.
    """
    chosen, others = parser().parse_known_args(list(arguments))
    content = read_checkpoint(chosen.ckpt_path)
    task, folder = build([word for config in chosen.config for word in ("-c", config)] + others)
    collection = load_collection(task, content, chosen.ckpt_path)
    states = content.get("optimizer_states", [])
    state_bytes = read_state_bytes([task.configure_optimizers()], states)
    dense = dense_model(task, collection, state_bytes)
    tables = list(dict.fromkeys(feature.table for feature in collection.features))
    given = chosen.counts
    counts_folder = folder / "counts" if given is None else check_counts(given, tables, task.data_identity)
    counts = {name: read_counts(counts_folder, name, collection.table(name).num_embeddings) for name in tables}
    known = [name for name in tables if counts[name] is not None]
    notes = [
        f"Collisions and unused rows are those of ids seen in training ({counts_folder})."
        if known
        else f"There are no counts in {counts_folder}: all ids count as seen, and norms are not shown by frequency.",
        *shared_notes(collection, tables),
        "Effective rank (RankMe) and singular values are of at most 20,000 sampled ids of each table.",
        f"Beside the tables: {dense.num_parameters:,} parameters, {human_bytes(dense.stored_bytes)}, and "
        f"{human_bytes(dense.state_bytes)} of optimizer state."
        if states
        else "The checkpoint has no state of dense optimizers: training bytes lack it.",
    ]
    portraits = [portray(collection, name, counts[name], chosen.seed, state_bytes) for name in tables]
    report = DescriptionReport(str(chosen.ckpt_path), portraits, notes, dense)
    report.print()
    if chosen.out is not None:
        report.write(chosen.out)
        print(f"report: {chosen.out / 'report.html'}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys describe", description="What the tables of a checkpoint hold.")
    found.add_argument("--ckpt_path", type=Path, required=True, help="checkpoint of lightning fit")
    found.add_argument("-c", "--config", action="append", default=[], help="its config, once or more")
    found.add_argument("--counts", type=Path, help="folder of counts (default: counts/ of the data)")
    found.add_argument("--seed", type=SEED, default=0, help="of the samples")
    found.add_argument("--out", type=Path, help="folder for tables.json, tables.parquet, pictures and report.html")
    return found


def read_checkpoint(path: Path) -> dict[str, Any]:
    """What a checkpoint holds; nothing in it is executed.

    Raises:
        ValueError: if it is missing, damaged or not a checkpoint.
    """
    try:
        content = read(path)
    except ValueError as error:
        raise ValueError(f"--ckpt_path: {error}") from error
    if not isinstance(content, dict) or "state_dict" not in content:
        raise ValueError(f"--ckpt_path: '{path}' has no state_dict; it is not a checkpoint of lightning fit.")
    return content


def build(command: Sequence[str]) -> tuple[TableTask, Path]:
    """The task that configs describe, and the folder of its data."""
    cli = RecsysCLI.launch(command, run=False)
    return cli.model, Path(cli.datamodule.schema.path)


def load_collection(task: TableTask, content: dict[str, Any], path: Path) -> TableCollection:
    """The task's tables with the checkpoint's rows.

    Raises:
        ValueError: naming every table that differs, or what differs in the data.
    """
    task.configure_model()
    with without_remap(f"give the checkpoint of a lightning fit --ckpt_path {path} --remap, which carries rows over"):
        task.check_fits(content)
    try:
        task.load_state_dict(content["state_dict"])
    except ValueError as error:
        raise ValueError(f"--ckpt_path '{path}': {error}") from error
    return task.collection
