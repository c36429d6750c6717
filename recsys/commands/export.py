"""`recsys export`: a trained checkpoint as a program that needs torch, or an ONNX runtime, alone.

recsys export last.ckpt served -c configs/criteo.yaml
recsys export last.ckpt served -c configs/criteo.yaml --format onnx
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from recsys.commands.describe import load_collection, read_checkpoint
from recsys.configuration.lightning_cli import RecsysCLI
from recsys.configuration.words import divided
from recsys.exporting.clicks import ExportableClicks
from recsys.exporting.exportable import Exportable
from recsys.exporting.formats import FORMATS
from recsys.exporting.sessions import ExportableSessions
from recsys.exporting.writing import free_folder, write
from recsys.human import human_bytes
from recsys.prepare.files.command_parser import CommandParser
from recsys.tasks import CTRTask, NextItemTask
from recsys.tasks.base import TableTask

_COMPARED_BATCHES = 2


def main(arguments: Sequence[str]) -> int:
    """Write the program and say how it compares; returns the exit code.

    Raises:
        ValueError: on a checkpoint or config that cannot be read or do not fit each other, or an OUT that is not free.
    """
    own, others = divided(arguments, parser())
    chosen = parser().parse_args(own)
    out = free_folder(chosen.out)
    format = FORMATS[chosen.format]()
    content = read_checkpoint(chosen.checkpoint)
    cli = RecsysCLI.launch([word for config in chosen.config for word in ("-c", config)] + others, run=False)
    load_collection(cli.model, content, chosen.checkpoint)
    exportable = exportable_of(cli.model)
    facts = {
        "task": type(cli.model).__name__,
        "checkpoint": chosen.checkpoint.name,
        "step": content.get("global_step"),
        "data": {name: marks for name, marks in (cli.model.data_identity or {}).items() if name != "path"},
    }
    data = Path(cli.datamodule.schema.path)
    num_samples, difference = write(exportable, format, out, compared_batches(cli.datamodule), facts, data)
    size = sum(file.stat().st_size for file in out.iterdir() if file.is_file())
    print(f"wrote {chosen.out / format.file} ({human_bytes(size)})")
    print(
        f"compared with the checkpoint on {num_samples:,} samples: the largest difference is {difference:.1e}"
        if num_samples
        else "the data have no sample to compare it with the checkpoint on"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = CommandParser(prog="recsys export", description="A checkpoint as a program of torch alone, or in ONNX.")
    found.add_argument("checkpoint", type=Path, help="of lightning fit or recsys compress")
    found.add_argument("out", type=Path, help="folder to write")
    found.add_argument("-c", "--config", action="append", default=[], help="its config, once or more")
    found.add_argument("--format", choices=list(FORMATS), default="pt2", help="pt2: torch.export (the default); onnx")
    return found


def exportable_of(task: TableTask) -> Exportable:
    """The program of a task.

    Raises:
        ValueError: on a task that has none.
    """
    if isinstance(task, CTRTask):
        return ExportableClicks(task)
    if isinstance(task, NextItemTask):
        return ExportableSessions(task)
    raise ValueError(f"recsys export takes a CTRTask or a NextItemTask, got {type(task).__name__}.")


def compared_batches(data: Any) -> Iterator[Any]:
    """Some samples of the test split, or else of val or train."""
    splits = data.schema.splits
    if "test" in splits:
        data.setup("test")
        loader = data.test_dataloader()
    elif "val" in splits:
        data.setup("validate")
        loader = data.eval_dataloader("val")
    else:
        data.setup("fit")
        loader = data.train_dataloader()
    yield from islice(loader, _COMPARED_BATCHES)
