"""The config that goes with a compressed checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from recsys.compression.stage_run import write_text
from recsys.configuration.lightning_cli import RecsysCLI


def write_config(cli: RecsysCLI, checkpoint: Path, file: Path) -> None:
    """Write the whole configuration of a run, but with the tables that a checkpoint describes.

    It names the checkpoint as what lies beside it, so that both can be moved together.

    Args:
        cli: that has built the run.
        checkpoint: the compressed one.
        file: to write, in the checkpoint's folder.
    """
    content: dict[str, Any] = yaml.safe_load(cli.parser.dump(cli.config, skip_none=False))
    content.pop("ckpt_path", None)
    settings = content["model"]["init_args"]
    saved = {"class_path": "recsys.tasks.SavedTable", "init_args": {"path": checkpoint.name}}
    settings |= {
        "tables": {"default": saved},
        "assign": {},
        "exact_up_to": 0,
        "table_options": {},
        "budget_bytes": None,
        "budget_fraction": None,
    }
    settings.pop("schema", None)
    # Whole or not there: stages take the file for the sign that they are done.
    write_text(file, yaml.safe_dump(content, sort_keys=False))
