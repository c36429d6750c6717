"""Reads a checkpoint's tensors and description without ever executing what a pickle says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from recsys.checkpoints import file as checkpoint_file
from recsys.checkpoints import folder as checkpoint_folder

KEY = "recsys"
"""The entry of a checkpoint that describes its tables."""

_LOOKUP = "collection.lookup."


class Checkpoint:
    """A checkpoint; the tensors of a single file stay on disk until they are used.

    Args:
        path: a .ckpt written by `recsys fit`: a file, or the folder of a sharded run.

    Raises:
        ValueError: if the file is missing, truncated, holds code, or does not describe its tables.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        content = read(self.path)
        if KEY not in content or "state_dict" not in content:
            raise ValueError(f"checkpoint '{path}' does not describe its tables: it was not written by `recsys fit`.")
        self.description: Mapping[str, Any] = content[KEY]
        state: dict[str, Tensor] = content["state_dict"]
        self.dense = {name: value for name, value in state.items() if not name.startswith(_LOOKUP)}
        self.rows: dict[str, Tensor] = {}
        self.states: dict[str, Tensor] = {}
        for key, value in state.items():
            if key.startswith(_LOOKUP):
                name, _, kind = key.removeprefix(_LOOKUP).rpartition(".")
                if kind == "weight":
                    self.rows[name] = value
                else:
                    self.states[f"{name}.{kind}"] = value


def read(path: Path) -> dict[str, Any]:
    """What a checkpoint holds, the tensors of a single file still on disk.

    Raises:
        ValueError: if it is missing, cut off, damaged, or holds code.
    """
    return checkpoint_folder.read(path) if path.is_dir() else checkpoint_file.read(path, mmap=True)
